"""What observers are told of a run, and what the file observer makes of it."""

import datetime
import logging
import os
import pathlib
import re
import shutil
import threading

import pytest
from helpers import Recorder, RunFiles, small_disk, wait_for

from minisacred import (
    SETTINGS,
    FileStorageObserver,
    ObserverError,
    RunObserver,
    SacredInterrupt,
    load_runs,
)


@pytest.fixture
def observer(ex, tmp_path):
    observer = FileStorageObserver(tmp_path / "runs")
    ex.observers.append(observer)
    return observer


@pytest.fixture
def files(tmp_path):
    return RunFiles(tmp_path / "runs" / "1")


def store_things(_run, path):
    path.write_text("x")
    _run.log_scalar("loss", 0.5)
    _run.add_artifact(path, metadata={"k": 1}, content_type="text/plain")
    _run.add_resource(path)
    _run.info["note"] = "n"
    print("text")
    return 7


def test_events_come_in_order_with_the_arguments_of_sacred(ex, tmp_path):
    ex.observers.append(observer := Recorder(run_id="mine"))
    ex.main(lambda _run: store_things(_run, tmp_path / "f"))
    run, events = ex.run(), dict(observer.events)
    assert observer.names == [
        "started_event", "artifact_event", "resource_event", "log_metrics", "heartbeat_event",
        "completed_event", "join",
    ]  # fmt: skip
    started = events["started_event"]
    assert (started["command"], started["config"]["seed"]) == ("<lambda>", run.config["seed"])
    assert started.keys() >= {"ex_info", "host_info", "start_time", "meta_info", "_id"}
    beat = events["heartbeat_event"]
    assert (beat["info"], beat["captured_out"], beat["result"]) == ({"note": "n"}, "text\n", 7)
    assert isinstance(beat["beat_time"], datetime.datetime) and run._id == "mine"
    artifact = events["artifact_event"]
    assert (artifact["name"], artifact["metadata"]) == ("f", {"k": 1})
    assert events["resource_event"] == {"filename": str(tmp_path / "f")}
    metric = events["log_metrics"]["metrics_by_name"]["loss"]
    assert (metric["steps"], metric["values"]) == ([0], [0.5])
    assert events["completed_event"] == {"stop_time": run.stop_time, "result": 7}


def test_started_event_takes_its_arguments_by_position_as_in_sacred(ex, tmp_path):
    class Own(FileStorageObserver):
        def started_event(self, ex_info, command, host_info, start_time, config, meta_info, _id):
            facts = ex_info, command, host_info, start_time, config, meta_info
            return super().started_event(*facts, "own")

    ex.observers.append(Own(tmp_path))
    ex.main(lambda: 7)
    assert (ex.run()._id, RunFiles(tmp_path / "own").run["result"]) == ("own", 7)


class Enough(SacredInterrupt):
    STATUS = "ENOUGH"


@pytest.mark.parametrize(
    "error, event, argument",
    [
        (ValueError("oops"), "failed_event", {"fail_trace": "ValueError: oops"}),
        (Enough(), "interrupted_event", {"status": "ENOUGH"}),
        (KeyboardInterrupt(), "interrupted_event", {"status": "INTERRUPTED"}),
    ],
)
def test_end_of_a_run_is_told_by_an_event_of_its_own(ex, error, event, argument):
    ex.observers.append(observer := Recorder())

    @ex.main
    def main():
        raise error

    with pytest.raises(type(error)):
        ex.run()
    assert observer.names[-2:] == [event, "join"]
    for name, part in argument.items():
        assert part in "".join(dict(observer.events)[event][name])


def test_queued_run_is_told_by_an_event_of_its_own(ex):
    ex.observers.append(observer := Recorder(run_id=5))
    ex.main(lambda: None)
    assert ex.queue() == 5
    assert observer.names[0] == "queued_event" and "started_event" not in observer.names
    assert "queue_time" in observer.events[0][1]


def test_observers_are_called_by_priority_and_share_the_id_of_the_first(ex):
    low, high = Recorder(priority=1, run_id="low"), Recorder(priority=9, run_id="high")
    ex.observers += [low, high]
    ex.main(lambda: None)
    run = ex.run()
    assert run.observers == [high, low] and run._id == "high"
    assert low.events[0][1]["_id"] == "high"


def test_observer_that_fails_at_the_start_stops_the_run_before_main(ex):
    ex.observers.append(Recorder(fail_at=["started_event"]))
    called = []
    ex.main(lambda: called.append(1))
    with pytest.raises(OSError, match="started_event fails"):
        ex.run()
    assert not called


def test_observer_that_fails_for_a_while_gets_everything_later(ex, tmp_path, caplog):
    bad = Recorder(priority=5, fail_at=["log_metrics", "artifact_event", "heartbeat_event"])
    ex.observers += [bad, good := Recorder()]

    @ex.main
    def main(_run):
        store_things(_run, tmp_path / "f")
        wait_for(lambda: "heartbeat_event" in good.names)
        bad.fail_at.clear()
        wait_for(lambda: "heartbeat_event" in bad.names)  # again at a heartbeat
        _run.log_scalar("loss", 2)

    ex.run(options={"beat_interval": 0.02})
    values = [e["metrics_by_name"]["loss"]["values"] for n, e in bad.events if n == "log_metrics"]
    assert sum(values, []) == [0.5, 2] and "artifact_event" in bad.names
    assert bad.names[-2:] == ["completed_event", "join"]
    assert caplog.text.count("artifact_event fails") + caplog.text.count("log_metrics fails") <= 1


def test_observer_that_always_fails_is_reported_once_and_harms_nobody(ex, caplog):
    later = [name for name in Recorder.EVENTS if name != "started_event"]
    ex.observers += [Recorder(priority=5, fail_at=later), good := Recorder()]

    @ex.main
    def main(_run):
        _run.log_scalar("loss", 1)
        wait_for(lambda: good.names.count("heartbeat_event") > 3)
        return 3

    assert ex.run(options={"beat_interval": 0.01}).result == 3
    assert good.names[-2:] == ["completed_event", "join"]
    during = [r for r in caplog.records if "heartbeat_event fails" in r.getMessage()]
    assert len(during) == 1
    assert "completed_event" in caplog.text  # what its record lacks


def test_observer_that_hangs_is_waited_for_no_longer_than_the_setting(ex, monkeypatch, caplog):
    gate, answered = threading.Event(), []

    class Hanging(RunObserver):
        priority = 5

        def completed_event(self, **_):
            answered.append(gate.wait(60))

    monkeypatch.setitem(SETTINGS, "OBSERVER_TIMEOUT", 0.2)
    ex.observers += [Hanging(), good := Recorder()]
    ex.main(lambda: None)
    ex.run()
    assert not answered and good.names[-2:] == ["completed_event", "join"]
    assert "Hanging" in caplog.text
    gate.set()


SIMPLE = """
ex.add_config(foo=1)
@ex.main
def main(foo, _run):
    print("hello")
    for i in range(3):
        _run.log_scalar("loss", 1 / (i + 1))
    return foo
"""


def test_run_directory_has_exactly_the_documented_files(place):
    done = place(SIMPLE, "with", "foo=23", "-F", "runs")
    assert sorted(os.listdir(place.path / "runs")) == ["1", "_sources"], done.err
    assert sorted(os.listdir(place.path / "runs/1")) == [
        "config.json", "cout.txt", "info.json", "metrics.json", "metrics.jsonl", "run.json"]  # fmt: skip
    files, run = place.run(), place.run().run
    assert run.keys() >= set(
        "command status start_time heartbeat stop_time result fail_trace experiment host meta "
        "resources artifacts beat_interval".split()
    )
    for key in ("start_time", "heartbeat", "stop_time"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", run[key])
    assert (run["command"], run["status"], run["result"]) == ("main", "COMPLETED", 23)
    assert files.config["foo"] == 23 and files.info == {}
    assert "hello\n" in files.cout and "INFO - exp - " in files.cout


def test_metrics_are_stored_by_line_and_by_metric(ex, observer, files):
    ex.main(lambda _run: [_run.log_scalar("loss", v, step=3 * v) for v in (1, 2)][:0])
    ex.run()
    first, second = files.lines
    assert list(first) == ["name", "step", "value", "timestamp"]
    assert (second["name"], second["step"], second["value"]) == ("loss", 6, 2)
    times = [first["timestamp"], second["timestamp"]]
    assert files.metrics == {"loss": {"steps": [3, 6], "values": [1, 2], "timestamps": times}}


def test_files_are_there_from_the_start(ex, observer, files):
    @ex.main
    def main():
        run = files.run
        return [run["status"], run["heartbeat"] == run["start_time"], files.metrics, files.info]

    assert ex.run().result == ["RUNNING", True, {}, {}]


def test_strange_result_does_not_cost_the_run(ex, observer, files, caplog):
    class Odd:
        def __repr__(self):
            return "<odd>"

    ex.main(lambda: {"odd": Odd(), "nan": float("nan"), (1, 2): {3, 1}, "bytes": b"x"})
    ex.run()
    assert files.run["status"] == "COMPLETED"
    result = files.run["result"]
    assert (result["odd"], result["nan"], result["bytes"]) == ("<odd>", "NaN", "x")
    assert [1, 3] in result.values() and "Odd" in caplog.text


def test_last_state_of_a_finished_run_is_synced(ex, observer, files, monkeypatch):
    synced, real = set(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.fstat(fd).st_ino) or real(fd))
    ex.main(lambda _run: store_things(_run, files.path / "f"))
    ex.run()
    for name in os.listdir(files.path):
        assert os.stat(files.path / name).st_ino in synced, name


def test_numbers_count_up(ex, observer, tmp_path):
    ex.main(lambda: None)
    (tmp_path / "runs" / "17").mkdir(parents=True)
    assert [str(ex.run()._id) for _ in range(2)] == ["18", "19"]


@pytest.mark.parametrize("name", ["here", "a/b", "..", "a\nb", "é" * 101])
def test_bad_id_is_an_error_that_touches_nothing(ex, observer, tmp_path, name):
    (tmp_path / "runs" / "here").mkdir(parents=True)
    ex.main(lambda: None)
    with pytest.raises(ObserverError):
        ex.run(options={"id": name})
    assert os.listdir(tmp_path) == ["runs"] and os.listdir(tmp_path / "runs") == ["here"]
    assert os.listdir(tmp_path / "runs" / "here") == []


def test_sources_are_stored_once_for_all_runs(place):
    for _ in range(2):
        place(SIMPLE, "-F", "runs")
    (stored,) = os.listdir(place.path / "runs" / "_sources")
    assert re.fullmatch(r"exp_[0-9a-f]{32}\.py", stored)
    for number in "12":
        (source,) = place.run(number).run["experiment"]["sources"]
        assert source == ["exp.py", f"_sources/{stored}"]
    source = (place.path / "runs" / "_sources" / stored).read_text()
    assert source == (place.path / "exp.py").read_text()


def test_observer_tells_where_it_records_and_saves_more_there(ex, observer, files, tmp_path):
    (tmp_path / "f").write_text("x")

    @ex.main
    def main():
        observer.save_file(tmp_path / "f", "g")
        observer.save_file(tmp_path / "f")
        observer.save_json({"a": (1, 2)}, "more.json")

    run = ex.run()
    assert observer.basedir == str(tmp_path / "runs")
    assert observer.dir == run.dir == str(files.path)
    assert (files.path / "g").read_text() == (files.path / "f").read_text() == "x"
    assert files.more == {"a": [1, 2]}


def test_create_makes_an_observer_as_the_constructor_does(tmp_path):
    observer = FileStorageObserver.create(tmp_path / "runs", priority=3)
    assert (observer.basedir, observer.priority) == (str(tmp_path / "runs"), 3)


def test_directories_of_sources_and_resources_may_be_given(ex, tmp_path):
    more = {"resource_dir": tmp_path / "res", "source_dir": tmp_path / "src"}
    ex.observers.append(FileStorageObserver(tmp_path / "runs", **more))
    (tmp_path / "f").write_text("x")
    ex.main(lambda: ex.add_resource(tmp_path / "f"))
    ex.run()
    assert os.listdir(tmp_path / "runs") == ["1"]
    assert len(os.listdir(tmp_path / "res")) == 1 and os.listdir(tmp_path / "src")


def test_artifact_is_the_file_as_it_was_at_the_call(ex, observer, files, tmp_path):
    @ex.main
    def main(_run):
        (tmp_path / "f").write_text("one")
        _run.add_artifact(tmp_path / "f", name=pathlib.Path("sub", "g"))
        ex.add_artifact(str(tmp_path / "f"))
        (tmp_path / "f").write_text("two")
        return (files.path / "sub" / "g").read_text()

    assert ex.run().result == "one"
    assert files.run["artifacts"] == ["sub/g", "f"]
    assert (files.path / "f").read_text() == "one"


def test_artifact_of_the_same_name_replaces_with_a_warning_if_it_is_another_file(
    ex, observer, files, tmp_path, caplog
):
    @ex.main
    def main(_run):
        for folder in ("net1", "net2"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "w.npy").write_text(folder)
            _run.add_artifact(tmp_path / folder / "w.npy")

    ex.run()
    assert (files.path / "w.npy").read_text() == "net2"
    (warning,) = [r.getMessage() for r in caplog.records if "w.npy" in r.getMessage()]
    assert "net1" in warning and "name=" in warning


def test_directory_is_an_artifact_as_a_whole(ex, observer, files, tmp_path):
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "f").write_text("deep")
    ex.main(lambda: ex.add_artifact(tmp_path, name="all"))  # the runs are in there, too
    ex.run()
    assert (files.path / "all" / "tree" / "sub" / "f").read_text() == "deep"
    assert (files.path / "all" / "runs" / "1" / "config.json").exists()
    assert files.run["artifacts"] == ["all"]


@pytest.mark.parametrize(
    "name", ["../x", "/x", "..", "a/../../x", "run.json", "cout.txt", "metrics.jsonl", ".queued"]
)
def test_artifact_that_leaves_its_place_raises_and_writes_nothing(ex, observer, tmp_path, name):
    (tmp_path / "f").write_text("x")

    @ex.main
    def main(_run):
        before = sorted(os.walk(tmp_path))
        with pytest.raises(ObserverError):
            ex.add_artifact(tmp_path / "f", name=name)
        return sorted(os.walk(tmp_path)) == before

    assert ex.run().result is True


@pytest.mark.parametrize("method", ["add_artifact", "add_resource", "open_resource"])
def test_missing_file_raises_at_the_call(ex, observer, tmp_path, method):
    @ex.main
    def main():
        with pytest.raises(FileNotFoundError):
            getattr(ex, method)(tmp_path / "missing")
        with pytest.raises(FileNotFoundError):
            ex.add_artifact("")  # not the working directory

    ex.run()


def test_resource_is_stored_once_for_all_runs(ex, observer, files, tmp_path):
    (tmp_path / "data.csv").write_text("1,2")

    @ex.main
    def main():
        with ex.open_resource(tmp_path / "data.csv") as file:
            return file.read()

    assert ex.run().result == ex.run().result == "1,2"
    ((original, stored),) = files.run["resources"]
    assert original == str(tmp_path / "data.csv")
    assert re.fullmatch(r"_resources/data_[0-9a-f]{32}\.csv", stored)
    assert os.listdir(tmp_path / "runs" / "_resources") == [os.path.basename(stored)]
    assert (tmp_path / "runs" / stored).read_text() == "1,2"


def test_paths_are_recorded_instead_of_copies_where_that_is_asked_for(ex, tmp_path):
    without = {"copy_artifacts": False, "copy_sources": False}
    ex.observers.append(FileStorageObserver(tmp_path / "runs", **without))
    (tmp_path / "f").write_text("x")
    ex.main(lambda: ex.add_artifact(tmp_path / "f"))
    ex.run()
    assert RunFiles(tmp_path / "runs" / "1").run["artifacts"] == [str(tmp_path / "f")]
    assert os.listdir(tmp_path / "runs") == ["1"] and not (tmp_path / "runs" / "1" / "f").exists()


def test_each_file_observer_gets_the_whole_record(ex, tmp_path):
    ex.observers += [FileStorageObserver(tmp_path / name) for name in "ab"]
    ex.main(lambda _run: store_things(_run, tmp_path / "f"))
    ex.run()
    first, second = (RunFiles(tmp_path / name / "1") for name in "ab")
    assert first.cout == second.cout == "text\n"
    assert first.metrics == second.metrics and first.config == second.config
    assert first.run["result"] == second.run["result"] == 7
    assert (second.path / "f").read_text() == "x" and second.info == {"note": "n"}


def test_observer_that_has_failed_to_start_is_used_again(ex, observer):
    ex.main(lambda: None)
    ex.run(options={"id": "a"})
    with pytest.raises(ObserverError):
        ex.run(options={"id": "a"})
    assert ex.run().dir == observer.dir


def test_nested_runs_may_share_an_observer(ex, observer, tmp_path):
    ex.add_config(depth=0)

    @ex.main
    def main(depth, _run):
        print("depth", depth)
        if depth < 2:
            ex.run(config_updates={"depth": depth + 1})
        _run.log_scalar("depth", depth)
        return depth

    ex.run()
    runs = list(load_runs(tmp_path / "runs"))
    assert [(run["_id"], run["result"], run["status"]) for run in runs] == [
        (n + 1, n, "COMPLETED") for n in range(3)
    ]
    assert [run["metrics"]["depth"]["values"] for run in runs] == [[0], [1], [2]]
    assert RunFiles(tmp_path / "runs" / "3").cout == "depth 2\n"


def check_refused(done):
    assert done.code == 1 and "hello" not in done.out, done.err
    (line,) = [line for line in done.err.splitlines() if not line.startswith("INFO")]
    assert line.startswith("exp.py: error: ") and "runs" in line


def test_directory_that_cannot_be_made_stops_the_run_with_one_line(place):
    (place.path / "runs").write_text("a file")
    check_refused(place(SIMPLE, "-F", "runs"))


def test_full_disk_at_the_start_stops_the_run_and_leaves_nothing(place):
    with small_disk(place.path / "runs", "16k") as runs:
        (runs / "fill").write_bytes(bytes(8192))
        check_refused(place(SIMPLE, "-F", "runs"))
        assert sorted(set(os.listdir(runs)) - {"_sources"}) == ["fill"]


FILL = """
import os
def fill():
    with open("runs/fill", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
@ex.main
def main(_run):
    _run.log_scalar("loss", 0.5)
    fill()
    for i in range(2000):
        print("a line that finds no room", i)
        _run.log_scalar("loss", i)
    {then}
    return "x" * 3000
"""


def test_disk_that_is_full_for_a_while_costs_no_measurement_and_no_result(place):
    with small_disk(place.path / "runs", "1m"):
        script = FILL.format(then='os.unlink("runs/fill")')
        done = place(script, "-F", "runs", "-b", "0.02")
        assert done.code == 0, done.err
        files = place.run()
        assert files.run["status"] == "COMPLETED" and len(files.run["result"]) == 3000
        assert files.metrics["loss"]["values"] == [0.5, *range(2000)]


def test_disk_that_stays_full_leaves_whole_files_and_is_told_of(place):
    with small_disk(place.path / "runs", "1m"):
        done = place(FILL.format(then="pass"), "-F", "runs", "-b", "0.02")
        assert done.code == 0 and "no room 1999" in done.out, done.err
        place.run().run, place.run().info, place.run().metrics, place.run().config
        ends = [line for line in done.err.splitlines() if line.startswith(("ERROR", "WARNING"))]
        assert any("incomplete" in line for line in ends) and any("output" in line for line in ends)
        assert "Traceback" not in done.err


def test_lost_directory_does_not_reach_the_experiment(ex, observer, tmp_path, caplog):
    @ex.main
    def main(_run):
        shutil.rmtree(_run.dir)
        print("after")
        _run.log_scalar("loss", 1)
        return 5

    assert ex.run().result == 5
    assert any(r.levelno >= logging.WARNING and "runs" in r.getMessage() for r in caplog.records)
