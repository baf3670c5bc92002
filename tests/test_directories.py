"""Reading run directories back with load_runs."""

import datetime
import json
import os
import subprocess
import sys

import pytest
from helpers import RunFiles

from minisacred import FileStorageObserver, load_runs


@pytest.fixture
def runs(ex, tmp_path):
    """A directory in which an experiment has run three times."""
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    ex.add_config(n=0)

    @ex.main
    def main(n, _run):
        _run.info["n"] = n
        for value in (n, n + 0.5):
            _run.log_scalar("loss", value)
        return n

    for n in range(3):
        ex.run(config_updates={"n": n})
    return tmp_path / "runs"


def change(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_each_run_is_a_plain_dictionary(runs):
    run = list(load_runs(runs))[1]
    stored = RunFiles(runs / "2")
    assert type(run) is dict and run.keys() >= stored.run.keys()
    assert (run["_id"], run["status"], run["result"]) == (2, "COMPLETED", 1)
    assert (run["config"], run["info"]) == (stored.config, {"n": 1})
    assert run["metrics"] == stored.metrics and run["dir"] == str(runs / "2")
    assert "error" not in run


def test_runs_come_in_the_order_of_their_ids(ex, runs):
    (runs / "9").mkdir()
    for run_id in (None, "named"):
        ex.run(options={"id": run_id})
    assert [run["_id"] for run in load_runs(runs)] == [1, 2, 3, 9, 10, "named"]


def test_runs_are_read_when_they_are_asked_for(runs):
    found = load_runs(runs)
    assert next(found)["_id"] == 1
    change(runs / "2" / "run.json", result="changed")
    assert next(found)["result"] == "changed"


@pytest.mark.parametrize("name", ["run.json", "config.json", "info.json", "metrics.json"])
def test_damaged_file_gives_an_error_that_names_it(runs, name):
    (runs / "2" / name).write_text("{")
    first, second, third = load_runs(runs)
    assert name in second["error"] and second["_id"] == 2
    assert "error" not in first and "error" not in third


def test_measurements_that_cannot_be_read_give_an_error(runs):
    (runs / "2" / "metrics.json").write_text("{}")
    (runs / "2" / "metrics.jsonl").unlink()
    (runs / "2" / "metrics.jsonl").mkdir()
    assert ["metrics" in run.get("error", "") for run in load_runs(runs)] == [False, True, False]


def test_directory_without_files_is_not_skipped(runs):
    (runs / "7").mkdir()
    last = list(load_runs(runs))[-1]
    assert last["_id"] == 7 and "run.json" in last["error"]


def test_sources_and_resources_are_no_runs(runs):
    (runs / "_resources").mkdir()
    assert (runs / "_sources").is_dir() and len(list(load_runs(runs))) == 3


def test_metrics_of_a_killed_run_are_those_of_the_lines_that_are_whole(runs):
    (runs / "2" / "metrics.json").write_text("{}")
    with open(runs / "2" / "metrics.jsonl", "a") as file:
        file.write('{"name": "lo')
    run = list(load_runs(runs))[1]
    assert run["metrics"]["loss"]["values"] == [1, 1.5]
    assert run["metrics"]["loss"]["steps"] == [0, 1] and "error" not in run


@pytest.fixture
def gone():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def status_of(runs, **fields):
    """Return the status of a run whose run.json says RUNNING and what is given."""
    change(runs / "2" / "run.json", status="RUNNING", stop_time=None, **fields)
    return list(load_runs(runs))[1]["status"]


def at(seconds_ago):
    moment = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    moment -= datetime.timedelta(seconds=seconds_ago)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")


def test_run_whose_process_is_gone_is_dead(runs, gone):
    assert status_of(runs, heartbeat=at(1000)) == "RUNNING"
    host = {**RunFiles(runs / "2").run["host"], "pid": gone}
    assert status_of(runs, host=host, heartbeat=at(0)) == "DEAD"
    assert RunFiles(runs / "2").run["status"] == "RUNNING"  # it is only looked at


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs the start times in /proc")
def test_run_whose_pid_is_another_process_by_now_is_dead(runs):
    host = {**RunFiles(runs / "2").run["host"], "pid": 1}
    assert status_of(runs, host=host) == "DEAD"


@pytest.mark.parametrize(
    "interval, seconds_ago, status",
    [
        (1, 20, "RUNNING"),  # each interval counts for at least 10 s
        (1, 40, "DEAD"),
        (100, 250, "RUNNING"),
        (100, 350, "DEAD"),
    ],
)
def test_run_of_another_host_is_judged_by_its_heartbeat(runs, gone, interval, seconds_ago, status):
    host = {**RunFiles(runs / "2").run["host"], "hostname": "elsewhere", "pid": gone}
    beat = {"heartbeat": at(seconds_ago), "beat_interval": interval}
    assert status_of(runs, host=host, **beat) == status
