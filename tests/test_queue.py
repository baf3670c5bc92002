"""Workers, sweeps and runs that go on: real processes and real signals."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from helpers import ROOT, small_disk, wait_for

from minisacred import load_runs

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
SIGNALS = pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
MODULE = ROOT / "minisacred.py"

#: Notes each start in a file; can wait before the run and in it, and fail.
TASK = """
import os, sys, time
def wait_for_file(name):
    while not os.path.exists(name):
        time.sleep(0.01)
if "HOLD" in os.environ:
    open(f"importing-{os.getpid()}", "a").close()
    wait_for_file(os.environ["HOLD"])
@ex.config
def config():
    n = 0
    until = None
    text = "a"
    layers = [1]
    model = {"size": 1, "deep": False}
@ex.named_config
def small():
    model = {"size": 2}
@ex.named_config
def large():
    model = {"size": 200}
@ex.main
def main(n, until, text, layers, model, _run):
    starts = os.open("starts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(starts, f"{_run._id}\\n".encode())
    os.close(starts)
    if until and not _run.resumed:
        wait_for_file(until)
    if n < 0:
        raise ValueError("n is negative")
    return n
"""


@pytest.fixture
def place(place):
    place.write(TASK)
    return place


def queue(place, *argv):
    done = place.python("exp.py", "-q", "-F", "runs", *argv)
    assert done.code == 0, done.err


def work(place, *argv, **options):
    return place.python(MODULE, "work", "runs", *argv, **options)


def ended(process):
    """Wait for a process, and return its exit code, output and errors."""
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, err


def runs(place):
    return list(load_runs(place.path / "runs"))


def statuses(place):
    return [run["status"] for run in runs(place)]


def starts(place):
    path = place.path / "starts"
    return path.read_text().split() if path.exists() else []


def importing(place):
    """Return the ids of the processes that wait for the file which HOLD names."""
    return [int(path.name.split("-")[1]) for path in place.path.glob("importing-*")]


def test_worker_starts_the_highest_priority_first_then_the_lowest_id(place):
    queue(place, "over", "n=0,1")
    for priority in ("5", "-1", "5"):
        queue(place, "-P", priority)
    done = work(place)
    assert (done.code, starts(place)) == (0, ["3", "5", "1", "2", "4"])
    assert set(statuses(place)) == {"COMPLETED"}


def test_worker_prints_a_line_per_run_with_what_is_done_and_left(place):
    queue(place, "over", "n=4,-1")
    done = work(place)
    first, second = done.out.splitlines()
    assert first.startswith("run 1 COMPLETED") and "4" in first
    assert second.startswith("run 2 FAILED") and "n is negative" in second
    assert "1 done" in first and "1 left" in first and "2 done" in second and "0 left" in second
    assert done.code == 1 and done.err == ""


def test_worker_starts_no_more_than_the_limit(place):
    queue(place, "over", "n=range(3)")
    assert work(place, "--limit", "2").code == 0
    assert statuses(place) == ["COMPLETED", "COMPLETED", "QUEUED"]


def test_worker_runs_several_at_a_time(place):
    queue(place, "with", "until=go", "over", "n=range(3)")
    worker = place.start(MODULE, "work", "runs", "-j", "2")
    wait_for(lambda: len(starts(place)) == 2)
    assert statuses(place).count("RUNNING") == 2
    (place.path / "go").touch()
    assert ended(worker)[0] == 0 and len(starts(place)) == 3


def test_worker_that_watches_looks_again(place):
    (place.path / "runs").mkdir()
    worker = place.start(MODULE, "work", "runs", "--watch", "0.05")
    queue(place)
    wait_for(lambda: statuses(place) == ["COMPLETED"])
    queue(place)
    wait_for(lambda: statuses(place) == ["COMPLETED"] * 2)
    worker.send_signal(signal.SIGTERM)
    assert ended(worker)[0] == -signal.SIGTERM


def test_each_run_gets_a_process_with_the_interpreter_of_the_worker(place):
    queue(place, "over", "n=0,1")
    work(place)
    one, two = runs(place)
    assert one["host"]["pid"] != two["host"]["pid"]
    version = ".".join(map(str, sys.version_info[:3]))
    assert one["host"]["python_version"].startswith(version)
    assert one["meta"]["worker"]["pid"] == two["meta"]["worker"]["pid"]


def test_worker_starts_runs_of_whatever_experiment(place):
    queue(place)
    place.write("@ex.main\ndef main():\n    return 'other'\n", "sub/other.py")
    place.python("sub/other.py", "-q", "-F", "runs")
    assert work(place).code == 0
    assert [run["result"] for run in runs(place)] == [0, "other"]


def test_run_starts_in_the_directory_where_it_was_queued(place):
    place.write("import os\n\n@ex.main\ndef main():\n    return os.getcwd()\n", "sub/other.py")
    place.python("sub/other.py", "-q", "-F", "runs")
    code = subprocess.call(
        [sys.executable, str(MODULE), "work", str(place.path / "runs")],
        cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert code == 0 and runs(place)[0]["result"] == str(place.path)


def test_module_of_a_package_is_started_as_one(place):
    (place.path / "package").mkdir()
    (place.path / "package" / "__init__.py").write_text("size = 5\n")
    place.write("from . import size\nex.main(lambda: size)\n", "package/train.py")
    done = place.python("-m", "package.train", "-q", "-F", "runs")
    assert done.code == 0, done.err
    assert work(place).code == 0 and runs(place)[0]["result"] == 5


@pytest.mark.parametrize("argv, code", [(["nowhere"], 1), (["runs", "-j", "0"], 2), ([], 2)])
def test_worker_says_what_is_wrong_with_its_arguments(place, argv, code):
    done = place.python(MODULE, "work", *argv)
    assert done.code == code and done.out == "" and done.err.count("\n") == 1
    assert done.err.startswith("minisacred: error: ")


def test_worker_records_why_a_run_could_not_start(place):
    queue(place)
    (place.path / "exp.py").write_text("raise SystemExit('out of order')")
    done = work(place)
    assert done.code == 1 and statuses(place) == ["FAILED"]
    assert "out of order" in "".join(runs(place)[0]["fail_trace"])


def test_many_workers_start_each_run_once(place):
    queue(place, "over", "n=range(16)")
    workers = [place.start(MODULE, "work", "runs") for _ in range(8)]
    ends = [ended(worker) for worker in workers]
    assert [(code, err) for code, _, err in ends] == [(0, "")] * 8
    assert sorted(starts(place), key=int) == [str(n + 1) for n in range(16)]
    assert set(statuses(place)) == {"COMPLETED"}
    lines = [line.split()[1] for _, out, _ in ends for line in out.splitlines()]
    assert sorted(lines) == sorted(starts(place))


def test_of_those_who_start_a_run_at_once_one_does(place):
    queue(place)
    argv = ["exp.py", "--start-queued", "1", "-F", "runs"]
    rivals = [place.start(*argv, env={"HOLD": "go"}) for _ in range(4)]
    wait_for(lambda: len(importing(place)) == 4)
    (place.path / "go").touch()
    ends = [ended(rival) for rival in rivals]
    assert starts(place) == ["1"] and statuses(place) == ["COMPLETED"]
    assert sorted(code for code, _, _ in ends) == [0, 1, 1, 1]


def test_claim_that_finds_no_room_on_a_full_disk_is_none(place):
    with small_disk(place.path / "runs", "1m") as folder:
        queue(place)
        with suppress(OSError):
            (folder / "fill").write_bytes(bytes(2 << 20))
        assert work(place).code == 1 and statuses(place) == ["QUEUED"]
        (folder / "fill").unlink()
        assert work(place).code == 0 and statuses(place) == ["COMPLETED"]


@POSIX
def test_run_whose_starter_died_is_dead_and_is_retried_when_asked_for(place):
    queue(place)
    worker = place.start(MODULE, "work", "runs", env={"HOLD": "never"})
    (child,) = wait_for(lambda: importing(place))
    worker.kill()
    ended(worker)
    assert statuses(place) == ["DEAD"]
    assert work(place).code == 0 and statuses(place) == ["DEAD"]
    refused = place.python("exp.py", "--start-queued", "1", "-F", "runs")
    assert refused.code == 1 and "'1'" in refused.err
    assert work(place, "--retry-dead").code == 0 and statuses(place) == ["COMPLETED"]
    os.kill(child, signal.SIGKILL)
    assert starts(place) == ["1"]


@POSIX
@pytest.mark.parametrize("victim", ["run", "worker"])
def test_killed_run_is_dead_and_is_resumed_by_a_retry(place, victim):
    queue(place, "with", "until=go")
    worker = place.start(MODULE, "work", "runs", start_new_session=True)
    wait_for(lambda: starts(place) == ["1"])
    pid = runs(place)[0]["host"]["pid"]
    if victim == "worker":
        worker.kill()
        ended(worker)
        assert statuses(place) == ["RUNNING"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: statuses(place) == ["DEAD"])
    if victim == "run":
        assert ended(worker)[0] == 1
    assert work(place, "--retry-dead").code == 0
    (run,) = runs(place)
    assert run["status"] == "COMPLETED" and run["attempts"][0]["status"] == "DEAD"


@POSIX
def test_dead_run_that_cannot_be_resumed_stays_dead_and_the_worker_says_why(place):
    process = place.start("exp.py", "-F", "runs", "with", "until=never")
    wait_for(lambda: starts(place) == ["1"])
    process.kill()
    ended(process)
    (place.path / "exp.py").write_text("raise SystemExit('out of order')")
    done = work(place, "--retry-dead")
    assert done.code == 1 and re.match("run 1 DEAD after .*: out of order ", done.out), done.out
    assert statuses(place) == ["DEAD"]


@POSIX
@SIGNALS
def test_signals_are_passed_on_to_the_runs_and_end_the_worker(place, name):
    queue(place, "with", "until=never", "over", "n=range(3)")
    worker = place.start(MODULE, "work", "runs", "-j", "2")
    wait_for(lambda: len(starts(place)) == 2)
    worker.send_signal(getattr(signal, name))
    code, out, err = ended(worker)
    assert (code, err) == (-getattr(signal, name), "")
    assert statuses(place) == ["INTERRUPTED", "INTERRUPTED", "QUEUED"]
    assert sorted(line.split()[2] for line in out.splitlines()) == ["INTERRUPTED"] * 2


@POSIX
def test_run_that_had_not_begun_when_the_worker_was_stopped_is_queued_again(place):
    queue(place, "-P", "5")
    worker = place.start(MODULE, "work", "runs", env={"HOLD": "never"})
    wait_for(lambda: importing(place))
    worker.terminate()
    assert ended(worker)[0] == -signal.SIGTERM
    assert statuses(place) == ["QUEUED"] and starts(place) == []
    assert work(place).code == 0 and starts(place) == ["1"]


def test_over_runs_the_product_of_lists_ranges_and_named_configs(place):
    argv = "with text=x over n=3,1 seed=range(2) small,large -F runs -j 2".split()
    done = place.python("exp.py", *argv)
    assert done.code == 0, done.err
    found = [(r["result"], r["config"]["seed"], r["config"]["model"]["size"]) for r in runs(place)]
    assert found == [(n, seed, size) for n in (3, 1) for seed in (0, 1) for size in (2, 200)]
    assert {run["config"]["text"] for run in runs(place)} == {"x"}
    assert len({run["host"]["pid"] for run in runs(place)}) == 8
    lines = done.out.splitlines()
    assert len(lines) == 8
    for part in ("n=3", "seed=0", "small", "COMPLETED", "3"):
        assert part in next(line for line in lines if line.startswith("run 1 "))


@pytest.mark.parametrize(
    "word, key, values",
    [
        ("layers=[1,2],[3]", "layers", [[1, 2], [3]]),
        ("text='a,b',c", "text", ["a,b", "c"]),
        ("n=range(4,0,-2),9", "n", [4, 2, 9]),
        ("model.deep=yes,off", "model", [{"size": 1, "deep": True}, {"size": 1, "deep": False}]),
    ],
)
def test_values_of_a_sweep_are_separated_outside_of_brackets_and_quotes(place, word, key, values):
    queue(place, "over", word)
    assert [run["config"][key] for run in runs(place)] == values
    assert set(statuses(place)) == {"QUEUED"} and starts(place) == []


@pytest.mark.parametrize(
    "code, argv, named",
    [
        (1, "over n=1 nn=1,2", "'n'"),
        (1, "over n=1,2 small,larg", "'large'"),
        (1, "over n=1 layers.7=1,2", "layers.7"),
        (1, "with smal over n=1,2", "'small'"),
        (2, "over n=", "n="),
        (2, "over", "over"),
        (2, "over n=1 with text=b", "'with'"),
        (2, "mian over n=1", "'main'"),
    ],
)
def test_all_points_are_checked_before_any_is_queued(place, code, argv, named):
    done = place.python("exp.py", *argv.split(), "-F", "runs")
    assert (done.code, done.out) == (code, "") and named in done.err, done.err
    assert done.err.count("\n") == 1 and not (place.path / "runs").exists()


def test_sweep_exits_with_1_when_a_run_failed(place):
    done = place.python("exp.py", "over", "n=-1,2", "-F", "runs")
    assert done.code == 1 and statuses(place) == ["FAILED", "COMPLETED"]
    assert "n is negative" in done.out and "Traceback" not in done.err


def test_run_is_queued_in_the_directory_asked_for_alone_and_recorded_in_both(place):
    own = "from minisacred import FileStorageObserver as O\nex.observers.append(O('own', source_dir='s'))"
    place.write(own + TASK)
    assert place.python("exp.py", "-q", "-F", "own").code == 0 and os.listdir(place.path / "s")
    shutil.rmtree(place.path / "own")
    assert place.python("exp.py", "over", "n=1,2", "-F", "runs").code == 0
    for name in ("runs", "own"):
        found = [(r["status"], r["result"]) for r in load_runs(place.path / name)]
        assert found == [("COMPLETED", 1), ("COMPLETED", 2)]


def test_sweep_starts_its_own_runs_only(place):
    queue(place, "-P", "9")
    assert place.python("exp.py", "over", "n=1,2", "-F", "runs").code == 0
    assert statuses(place) == ["QUEUED", "COMPLETED", "COMPLETED"]


def test_skip_done_leaves_out_what_has_completed(place):
    place.python("exp.py", "over", "n=1,-1", "-F", "runs")
    found = lambda: [run["config"]["n"] for run in runs(place)][2:]
    queue(place, "--skip-done", "over", "n=1,-1,2")
    assert found() == [-1, 2]  # a failed one is not done
    queue(place, "--skip-done", "over", "n=1", "text=a,b")
    assert found()[2:] == [1]


def test_skip_done_minds_a_seed_that_is_given(place):
    place.python("exp.py", "with", "seed=1", "-F", "runs")
    queue(place, "--skip-done", "over", "seed=1,2")
    assert [run["config"]["seed"] for run in runs(place)] == [1, 2]


@POSIX
@SIGNALS
def test_interrupted_sweep_leaves_the_rest_queued_and_says_how_to_go_on(place, name):
    (place.path / "runs").mkdir()
    (place.path / "my runs").symlink_to("runs")
    process = place.start("exp.py", "with", "until=go", "over", "n=1,2,3", "-F", "my runs")
    wait_for(lambda: starts(place) == ["1"])
    process.send_signal(getattr(signal, name))
    code, _, err = ended(process)
    assert code == -getattr(signal, name)
    assert statuses(place) == ["INTERRUPTED", "QUEUED", "QUEUED"]
    command = re.search(r"python (.*minisacred\.py' work .+)", err).group(1)
    (place.path / "go").touch()
    assert place.python(*shlex.split(command)).code == 0
    assert statuses(place) == ["INTERRUPTED", "COMPLETED", "COMPLETED"]
