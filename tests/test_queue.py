"""Queued runs, workers, sweeps, and runs that go on: real processes and real signals."""

import collections
import contextlib
import json
import os
import pathlib
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest
from helpers import ROOT, environment

import minisacred
from minisacred import load_runs

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals need POSIX")
PROC = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds processes in /proc")

#: Notes each start in a file; can wait, fail, and take long to import.
TASK = """
import os, sys, time

if os.environ.get("HOLD"):
    open(f"importing-{os.getpid()}", "a").close()
    while not os.path.exists(os.environ["HOLD"]):
        time.sleep(0.01)

@ex.config
def config():
    n = 0
    nap = 0.0
    seed = 7

@ex.main
def main(n, nap, _run):
    starts = os.open("starts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(starts, f"{_run._id}\\n".encode())
    os.close(starts)
    time.sleep(nap)
    if n < 0:
        raise ValueError("n is negative")
    return n
"""

#: A training loop with a checkpoint, which kills itself once.
TRAINING = """
import os, signal, time

@ex.config
def config():
    epochs = 6
    nap = 0.0
    end_at = -1
    how = "kill"

@ex.main
def main(epochs, nap, end_at, how, _run):
    checkpoint = os.path.join(_run.dir, "checkpoint")
    epoch = 0
    if _run.resumed and os.path.exists(checkpoint):
        with open(checkpoint) as file:
            epoch = int(file.read())
    while epoch < epochs:
        print("epoch", epoch, "resumed" if _run.resumed else "fresh", flush=True)
        ex.log_scalar("loss", 1 / (epoch + 1))
        time.sleep(nap)
        epoch += 1
        with open(checkpoint + ".new", "w") as file:
            file.write(str(epoch))
        os.replace(checkpoint + ".new", checkpoint)
        if epoch == end_at and not _run.resumed:
            time.sleep(0.3)  # some heartbeats
            if how == "fail":
                raise ValueError("diverged")
            os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGTERM)
    return epoch
"""


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def work(place, *argv, **options):
    return place.python(ROOT / "minisacred.py", "work", "runs", *argv, **options)


def queue(place, *argv):
    done = place.python("exp.py", "-q", "-F", "runs", *argv)
    assert done.code == 0, done.err
    return re.search(r'Queued-up run with ID "(.*)"', done.err)[1]


def ended(process, seconds=30):
    """Wait for a process, and return its exit code, output and errors."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, out, err


def statuses(place):
    return {str(run["_id"]): run["status"] for run in load_runs(place.path / "runs")}


def starts(place):
    path = place.path / "starts"
    return path.read_text().split() if path.exists() else []


def contents(folder):
    """Return the bytes of all files in a directory, by path."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def importing(place):
    """Return how many processes wait for the file that HOLD names."""
    return len(list(place.path.glob("importing-*")))


# -- queued runs ---------------------------------------------------------------------------


def test_a_queued_run_keeps_what_it_takes_to_start_it(place):
    place.write(TASK)
    assert queue(place, "with", "n=5", "-c", "for later", "-P", "2.5") == "1"
    run = place.run()
    assert starts(place) == [] and statuses(place) == {"1": "QUEUED"}
    assert (run.run["command"], run.config) == ("main", {"n": 5, "nap": 0.0, "seed": 7})
    assert run.run["meta"]["comment"] == "for later" and run.run["meta"]["priority"] == 2.5
    assert run.run["queue_time"] and "start_time" not in run.run
    [[name, stored]] = run.run["experiment"]["sources"]
    assert (place.path / "runs" / stored).read_bytes() == (place.path / name).read_bytes()
    assert run.cout == ""


def test_start_queued_starts_the_run_in_place(place):
    place.write(
        """
        @ex.config
        def config():
            n = 1

        @ex.command(prefix="part")
        def other(_run, _config):
            print("here", _run._id, _run.resumed, _run.capture_mode, _run.beat_interval)

        @ex.main
        def main():
            pass
        """
    )
    options = "-c text -P 3 -n named -b 0.5 -C sys --loglevel WARNING -i mine".split()
    done = place.python("exp.py", "other", "with", "n=2", "seed=9", "-q", "-F", "runs", *options)
    queued = place.run("mine").run
    done = place.python("exp.py", "--start-queued", "mine", "-F", "runs")
    assert done.code == 0 and "INFO" not in done.err, done.err
    assert done.out == place.run("mine").cout == "here mine False sys 0.5\n"
    run = place.run("mine")
    assert list(statuses(place).items()) == [("mine", "COMPLETED")]
    assert run.config == {"n": 2, "seed": 9}
    assert run.run["command"] == "other" and run.run["beat_interval"] == 0.5
    assert run.run["experiment"]["name"] == "named"
    assert run.run["meta"] == queued["meta"] and run.run["queue_time"] == queued["queue_time"]
    assert "attempts" not in run.run


def test_a_queued_run_has_the_configuration_that_it_would_have_had_at_once(place):
    place.write(
        """
        import random

        part = Ingredient("part")
        part.add_config(x=1)

        ex.ingredients = [part]

        @ex.config
        def config(part):
            drawn = random.random()
            pair = (1, (2, 3))
            pairs = [(1, 2), (3, 4)]
            nested = {"pair": (1, 2), 1: "one", "empty": {}}
            inf = float("inf")
            nan = float("nan")
            text = "5"
            nothing = None
            x = part["x"] * 2

        @ex.named_config
        def big():
            pair = (10, (20, 30))
            extra = {"deep": [1]}

        @ex.config_hook
        def hook(config, command_name, logger):
            return {"hooked": (command_name, config["x"])}

        @ex.main
        def main(_config, extra=0):
            return repr(sorted(_config.items()))
        """
    )
    updates = "with big seed=5 text=6 nothing=7 nested.pair=(3,4) part.x=21".split()
    assert place.python("exp.py", *updates, "-F", "runs").code == 0
    queue(place, *updates)
    done = place.python("exp.py", "--start-queued", "2", "-F", "runs")
    assert place.run("2").run["result"] == place.run("1").run["result"]
    assert place.run("2").config == place.run("1").config
    assert place.run("2").run["meta"]["named_configs"] == ["big"]
    assert "changed type" not in done.err


def test_queue_from_python_returns_the_id(place):
    done = place(
        """
        @ex.config
        def config():
            n = 1

        @ex.command(unobserved=True)
        def fill():
            ex.observers.append(FileStorageObserver("runs"))
            for n in range(3):
                print(ex.queue(config_updates={"n": n}, options={"--priority": n}))
            print(ex.queue("fails", meta_info={"who": "me"}))

        @ex.command
        def fails():
            raise ValueError("this one fails")

        @ex.main
        def main(n):
            return n
        """,
        "fill",
    )
    assert done.out.split() == ["1", "2", "3", "4"], done.err
    done = work(place)
    assert [line.split()[:3] for line in done.out.splitlines()] == [
        ["run", "3", "COMPLETED"],
        ["run", "2", "COMPLETED"],
        ["run", "1", "COMPLETED"],
        ["run", "4", "FAILED"],
    ]
    assert done.code == 1 and "ValueError: this one fails" in done.out
    assert place.run("4").run["meta"]["who"] == "me"


def test_queue_needs_an_observer(place):
    done = place(TASK, "-q")
    assert done.code == 2 and "add -F DIR" in done.err


# -- workers -------------------------------------------------------------------------------


def test_worker_starts_the_highest_priority_first_then_the_lowest_id(place):
    place.write(TASK)
    for priority in ([], ["-P", "1"], ["-P", "-1"], ["-P", "1"], ["-P", "1e3"], []):
        queue(place, *priority)
    done = work(place)
    assert starts(place) == ["5", "2", "4", "1", "6", "3"]
    assert (done.code, done.err) == (0, "")
    assert [line.split()[:3] for line in done.out.splitlines()] == [
        ["run", name, "COMPLETED"] for name in starts(place)
    ]


def test_worker_sorts_ids_as_numbers(place):
    place.write(TASK)
    for name in ("10", "9", "abc"):
        queue(place, "-i", name)
    assert work(place).code == 0
    assert starts(place) == ["9", "10", "abc"]


def test_worker_runs_several_at_a_time_and_no_more_than_the_limit(place):
    place.write(
        """
        import os, time

        @ex.main
        def main(_run):
            open(f"begun-{_run._id}", "w").close()
            deadline = time.monotonic() + 20
            while len([n for n in os.listdir() if n.startswith("begun-")]) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        """
    )
    for _ in range(3):
        queue(place)
    done = work(place, "-j", "2", "--limit", "2")
    assert done.code == 0 and len(done.out.splitlines()) == 2
    assert statuses(place) == {"1": "COMPLETED", "2": "COMPLETED", "3": "QUEUED"}


def test_worker_exits_with_1_when_any_run_failed(place):
    place.write(TASK)
    for n in ("-1", "2"):
        queue(place, "with", f"n={n}")
    done = work(place)
    assert (done.code, done.err) == (1, "")
    assert re.fullmatch(
        r"run 1 FAILED after .*: ValueError: n is negative\nrun 2 COMPLETED after .*: 2\n", done.out
    )
    assert work(place).code == 0  # nothing is left


def test_worker_records_who_ran_a_run(place):
    place.write(TASK)
    queue(place)
    process = place.start(ROOT / "minisacred.py", "work", "runs")
    ended(process)
    run = place.run().run
    assert run["meta"]["worker"]["pid"] == process.pid
    assert run["meta"]["worker"]["hostname"] == run["host"]["hostname"]
    assert run["host"]["pid"] != process.pid


def test_worker_starts_runs_of_whatever_experiment(place):
    place.write(TASK, name="first/exp.py")
    place.write("@ex.main\ndef main():\n    return 'second'\n", name="second/other.py")
    place.write("@ex.main\ndef main():\n    return __name__\n", name="package/sub/exp.py")
    (place.path / "package/helper.py").write_text("")
    for argv in (["first/exp.py"], ["second/other.py"], ["-m", "package.sub.exp"]):
        assert place.python(*argv, "-q", "-F", "runs").code == 0
    done = place.python("-m", "minisacred", "work", "runs")
    assert done.code == 0, done.out
    assert [place.run(name).run["result"] for name in "123"] == [0, "second", "__main__"]


def test_worker_runs_a_module_of_a_package_with_relative_imports(place):
    place.write(
        "from .helper import VALUE\n\n@ex.main\ndef main():\n    return VALUE\n",
        name="package/exp.py",
    )
    (place.path / "package/helper.py").write_text("VALUE = 42\n")
    assert place.python("-m", "package.exp", "-q", "-F", "runs").code == 0
    elsewhere = place.path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "minisacred", "work", "../runs"],
        cwd=elsewhere, env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, place.run().run["result"]) == (0, 42), done.stdout


def test_worker_starts_a_run_in_the_directory_where_it_was_queued(place):
    place.write(TASK)
    here = place.path / "here"
    here.mkdir()
    for argv in (
        ["../exp.py", "-q", "-F", "../runs"],
        [str(ROOT / "minisacred.py"), "work", "../runs"],
    ):
        if argv[1] == "work":
            cwd = place.path
            argv[2] = "runs"
        else:
            cwd = here
        done = subprocess.run(
            [sys.executable, *argv], cwd=cwd, env=environment(), capture_output=True, timeout=60
        )
        assert done.returncode == 0
    assert (here / "starts").read_text() == "1\n"


@POSIX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_worker_that_watches_starts_what_is_queued_later(place, number):
    place.write(TASK)
    (place.path / "runs").mkdir()
    worker = place.start(ROOT / "minisacred.py", "work", "runs", "--watch", "0.1", "-j", "2")
    try:
        queue(place, "with", "nap=60")
        wait_for(lambda: starts(place) == ["1"])
        queue(place)
        wait_for(lambda: statuses(place)["2"] == "COMPLETED")  # the first still runs
    finally:
        worker.send_signal(number)
        code, out, err = ended(worker)
    assert code == -number and err == ""
    # in whichever order: the second has completed, but its process may still be about to end
    assert sorted(line.split()[:3] for line in out.splitlines()) == [
        ["run", "1", "INTERRUPTED"],
        ["run", "2", "COMPLETED"],
    ]


@POSIX
def test_worker_on_a_terminal_shows_the_counts_in_one_line(place):
    import pty

    place.write(TASK)
    for n in (1, 2, -1):
        queue(place, "with", f"n={n}")
    master, terminal = pty.openpty()
    worker = place.start(ROOT / "minisacred.py", "work", "runs", stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(master)
    assert worker.wait(timeout=30) == 1
    lines = shown.decode().split("\r")
    assert "\x1b[K1 running, 2 queued" in lines
    assert "\x1b[K1 running, 1 queued, 1 completed" in lines
    [failed] = [line for line in lines if "FAILED" in line]
    assert re.fullmatch("\x1b\\[Krun 3 FAILED after .*: ValueError: n is negative", failed)
    assert lines[-2] == "\x1b[K2 completed, 1 failed" and shown.count(b"\n") == 2


def test_worker_says_what_is_wrong_with_its_arguments(place):
    done = work(place)
    assert (done.code, done.out) == (1, "")
    assert done.err == "minisacred: error: runs: No such file or directory\n"
    assert work(place, "-j", "0").code == 2


# -- exactly once --------------------------------------------------------------------------


def processes_with(*words):
    """Return the ids of the processes whose command line has all these words."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            argv = pathlib.Path("/proc", name, "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if all(word in argv for word in words):
            found.append(int(name))
    return found


def is_session_leader(pid):
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def test_many_workers_start_each_run_once(place, request):
    count = 4 * request.config.getoption("--storm")
    place.write(TASK)
    assert place.python("exp.py", "-q", "-F", "runs", "over", f"n=range({count})").code == 0
    workers = [place.start(ROOT / "minisacred.py", "work", "runs") for _ in range(8)]
    ends = [ended(worker, 600) for worker in workers]
    assert [(code, err) for code, _, err in ends] == [(0, "")] * 8
    assert sorted(starts(place), key=int) == [str(n + 1) for n in range(count)]
    assert set(statuses(place).values()) == {"COMPLETED"}
    lines = [line.split()[1] for _, out, _ in ends for line in out.splitlines()]
    assert sorted(lines) == sorted(starts(place))


@PROC
def test_no_run_is_lost_or_started_twice_whoever_is_killed(place, request):
    count = 3 * request.config.getoption("--storm")
    place.write(TASK)
    done = place.python("exp.py", "-q", "-F", "runs", "over", f"n=range({count})")
    assert done.code == 0
    rng, basedir = random.Random(count), str(place.path / "runs")
    workers = []
    for _ in range(count // 2):
        workers = [worker for worker in workers if worker.poll() is None]
        while len(workers) < 4:
            workers.append(
                place.start(
                    ROOT / "minisacred.py", "work", basedir,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
            )  # fmt: skip
        time.sleep(rng.uniform(0.05, 0.3))
        runs = processes_with("--start-queued", basedir)
        victims = [pid for pid in runs if is_session_leader(pid)]  # not what they have just forked
        if rng.random() < 0.5:
            workers[0].kill()
            workers.pop(0).wait()
        elif victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(victims), signal.SIGKILL)
    for worker in workers:
        worker.kill()
        worker.wait()
    wait_for(lambda: not processes_with(basedir))
    left, begun = statuses(place), collections.Counter(starts(place))
    assert len(left) == count
    failures = [r["fail_trace"] for r in load_runs(basedir) if r["status"] == "FAILED"]
    assert set(left.values()) <= {"COMPLETED", "QUEUED", "DEAD"}, failures
    assert set(begun.values()) == {1}
    for name, status in left.items():
        assert begun[name] in {"COMPLETED": (1,), "QUEUED": (0,), "DEAD": (0, 1)}[status]
    helpers = [place.start(ROOT / "minisacred.py", "work", "runs", "--retry-dead") for _ in "123"]
    ends = [ended(helper, 600) for helper in helpers]
    assert [(code, err) for code, _, err in ends] == [(0, "")] * 3, ends
    assert set(statuses(place).values()) == {"COMPLETED"}
    again = collections.Counter(starts(place))
    for name, status in left.items():
        assert again[name] == begun[name] + (status != "COMPLETED")


@POSIX
def test_worker_waits_for_no_run_that_is_not_queued_completely(place):
    place.write(TASK)
    queue(place)
    half = place.path / "runs" / "2"
    half.mkdir()
    (half / ".queued").write_text("5")
    done = work(place, timeout=20)
    assert (done.code, starts(place)) == (0, ["1"])
    queue(place, "-i", "left")
    claim = {"host": None, "heartbeat": None}  # its worker died before it had removed the mark
    (place.path / "runs" / "left" / ".claim-1").write_text(json.dumps(claim))
    assert work(place, timeout=20).code == 0
    assert statuses(place)["left"] == "DEAD"
    assert work(place, "--retry-dead", timeout=20).code == 0
    assert statuses(place)["left"] == "COMPLETED"


@PROC
def test_retry_dead_starts_a_run_anew_that_died_before_it_began(place):
    place.write(TASK)
    queue(place)
    worker = place.start(ROOT / "minisacred.py", "work", "runs", env={"HOLD": "never"})
    wait_for(lambda: importing(place) == 1)
    [child] = processes_with("--start-queued", str(place.path / "runs"))
    worker.kill()
    ended(worker)
    assert statuses(place) == {"1": "DEAD"}
    done = place.python("exp.py", "--start-queued", "1", "-F", "runs")
    assert done.code == 1 and "run '1' has died; use --resume" in done.err
    assert work(place, "--retry-dead").code == 0
    assert starts(place) == ["1"] and "attempts" not in place.run().run
    os.kill(child, signal.SIGKILL)


@PROC
def test_a_slow_process_gives_way_to_who_has_taken_its_run_over(place):
    place.write(TASK)
    queue(place)
    worker = place.start(ROOT / "minisacred.py", "work", "runs", env={"HOLD": "go"})
    wait_for(lambda: importing(place) == 1)
    worker.kill()
    ended(worker)
    assert work(place, "--retry-dead").code == 0
    (place.path / "go").touch()
    wait_for(lambda: not processes_with("--start-queued", str(place.path / "runs")))
    assert starts(place) == ["1"] and statuses(place) == {"1": "COMPLETED"}


@POSIX
def test_a_dead_run_whose_retry_is_interrupted_is_dead_again(place):
    place.write(TASK)
    place.python("exp.py", "-F", "runs", "with", "n=1")
    run = {**place.run().run, "status": "RUNNING", "stop_time": None}
    (place.path / "runs/1/run.json").write_text(json.dumps(run))
    assert statuses(place) == {"1": "DEAD"}
    worker = place.start(
        ROOT / "minisacred.py", "work", "runs", "--retry-dead", env={"HOLD": "never"}
    )
    wait_for(lambda: importing(place) == 1)
    worker.terminate()
    assert ended(worker)[0] == -signal.SIGTERM
    assert statuses(place) == {"1": "DEAD"}
    assert work(place, "--retry-dead").code == 0
    assert statuses(place) == {"1": "COMPLETED"}


def test_of_those_who_resume_a_run_at_once_one_does(place):
    place.write(TASK)
    assert place.python("exp.py", "-F", "runs", "with", "n=-1", "nap=1").code == 1
    rivals = [
        place.start("exp.py", "--resume", "1", "-F", "runs", env={"HOLD": "go"}) for _ in range(4)
    ]
    wait_for(lambda: importing(place) == 4)
    (place.path / "go").touch()
    ends = [ended(rival) for rival in rivals]
    assert starts(place) == ["1", "1"]
    refusals = [err for _, _, err in ends if "n is negative" not in err]
    assert len(refusals) == 3
    for err in refusals:
        assert re.fullmatch("exp.py: error: run '1' .*(claimed by|still running: ).*\n", err)


def test_a_claim_is_made_by_one_only(tmp_path):
    barrier, winners = threading.Barrier(8), []

    def claim(number):
        barrier.wait()
        if minisacred._claim(str(tmp_path), 0, who=number):
            winners.append(number)

    threads = [threading.Thread(target=claim, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1 and os.listdir(tmp_path) == [".claim-1"]
    assert minisacred._newest_claim(str(tmp_path))[1]["who"] == winners[0]


def test_a_run_that_ends_while_it_is_looked_at_is_not_dead(place, monkeypatch):
    place.write(TASK)
    place.python("exp.py", "-F", "runs")
    path = place.path / "runs/1/run.json"
    final = path.read_text()
    path.write_text(json.dumps({**json.loads(final), "status": "RUNNING"}))
    read = minisacred._read_file

    def end_meanwhile(name):
        if name.endswith("config.json"):
            path.write_text(final)
        return read(name)

    monkeypatch.setattr(minisacred, "_read_file", end_meanwhile)
    assert statuses(place) == {"1": "COMPLETED"}


# -- what goes wrong -----------------------------------------------------------------------


def test_worker_goes_on_after_runs_that_cannot_be_started(place):
    place.write(TASK)
    place.write(TASK, name="gone.py")
    place.write("@ex.config\ndef config():\n    old = 1\n\n@ex.main\ndef main(old):\n    pass\n", "renamed.py")  # fmt: skip
    place.write("@ex.main\ndef main():\n    pass\n", name="silent.py")
    for script in ("gone.py", "renamed.py", "exp.py", "silent.py", "exp.py"):
        assert place.python(script, "-q", "-F", "runs").code == 0
    (place.path / "gone.py").unlink()
    place.write("@ex.config\ndef config():\n    new = 1\n\n@ex.main\ndef main(new):\n    pass\n", "renamed.py")  # fmt: skip
    place.write("@ex.main\ndef main():\n    pass\n", name="silent.py", footer="")
    (place.path / "runs/3/run.json").write_text("{torn")
    done = work(place)
    assert (done.code, done.err) == (1, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("run 1 FAILED ") and "gone.py" in lines[0]
    assert lines[1].startswith("run 2 FAILED renamed.py: error: ") and "'old'" in lines[1]
    assert "changed since the run was recorded first: renamed.py" in lines[1]
    assert lines[2].startswith("run 3 DAMAGED run.json: ")
    assert lines[3].startswith("run 4 FAILED ") and "run_commandline" in lines[3]
    assert re.fullmatch(r"run 5 COMPLETED after .*: 0", lines[4]) and len(lines) == 5
    assert "gone.py" in "".join(place.run("1").run["fail_trace"])
    assert "'old'" in "".join(place.run("2").run["fail_trace"])
    assert place.run("1").run["stop_time"]
    assert (place.path / "runs/3/run.json").read_text() == "{torn"


def test_worker_goes_on_when_run_directories_are_removed(place):
    place.write(
        TASK.replace(
            "@ex.config",
            """
if "--start-queued" in sys.argv:
    import shutil
    shutil.rmtree("runs/" + sys.argv[sys.argv.index("--start-queued") + 1])

@ex.config""",
            1,
        )
    )
    place.write(TASK, name="other.py")
    queue(place)
    queue(place)
    assert place.python("other.py", "-q", "-F", "runs").code == 0
    done = work(place)
    assert (done.code, done.err) == (1, "")
    assert done.out.startswith(
        "run 1 GONE its directory has been removed\n"
        "run 2 GONE its directory has been removed\n"
        "run 3 COMPLETED"
    )
    assert statuses(place) == {"3": "COMPLETED"}


def test_worker_goes_on_when_it_cannot_claim(place, monkeypatch, capsys):
    place.write(TASK)
    queue(place)
    queue(place)

    def full(folder, *args, claim=minisacred._claim, **kwargs):
        if folder.endswith("1"):
            raise OSError(28, "No space left on device")
        return claim(folder, *args, **kwargs)

    monkeypatch.setattr(minisacred, "_claim", full)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert minisacred._Worker(str(place.path / "runs")).work() == 1
    assert "No space left on device" in capsys.readouterr().out
    assert statuses(place) == {"1": "QUEUED", "2": "COMPLETED"}


def test_what_may_not_be_started_is_left_as_it_is(place):
    place.write(TASK)
    queue(place)  # 1
    assert place.python("exp.py", "-F", "runs").code == 0  # 2 has completed
    assert place.python("exp.py", "-F", "runs", "with", "n=-1").code == 1  # 3 has failed
    queue(place, "-i", "claimed")
    minisacred._claim(str(place.path / "runs" / "claimed"), 0)
    running = place.start("exp.py", "-F", "runs", "-i", "alive", "with", "nap=60")
    wait_for(lambda: "alive" in starts(place) and "Started run" in place.run("alive").cout)
    before = contents(place.path)
    here = f"process {os.getpid()} on "
    for option, name, problem in [
        ("--start-queued", "2", "run '2' is not queued; its status is COMPLETED"),
        ("--start-queued", "3", "run '3' is not queued; its status is FAILED"),
        ("--start-queued", "alive", "run 'alive' is not queued; its status is RUNNING"),
        ("--start-queued", "claimed", "run 'claimed' is claimed by " + here),
        ("--start-queued", "claime", "there is no run 'claime' in "),
        ("--start-queued", "../runs/1", "run id '../runs/1' does not name a file"),
        ("--resume", "1", "run '1' is queued; use --start-queued"),
        ("--resume", "2", "run '2' has completed; there is nothing to resume"),
        ("--resume", "alive", f"run 'alive' is still running: process {running.pid} on "),
        ("--resume", "77", "there is no run '77' in "),
    ]:
        done = place.python("exp.py", option, name, "-F", "runs")
        assert (done.code, done.out) == (1, ""), done.err
        assert done.err.startswith("exp.py: error: " + problem) and done.err.count("\n") == 1
    for argv in (["with", "n=2"], ["main"], ["with", "named"]):
        done = place.python("exp.py", "--start-queued", "1", "-F", "runs", *argv)
        assert done.code == 2 and "leave out others" in done.err
    assert place.python("exp.py", "--start-queued", "1").code == 2
    assert contents(place.path) == before
    running.kill()
    ended(running)


def test_changed_sources_are_told_and_what_ran_is_recorded(place):
    path = place.write(TASK)
    queue(place)
    queue(place)
    path.write_text(path.read_text().replace("return n", "return 'changed'"))
    done = place.python("exp.py", "--start-queued", "1", "-F", "runs")
    told = "changed since the run was recorded first: exp.py; what runs now is recorded"
    assert told in done.err
    assert work(place).code == 0
    for name in "12":
        run = place.run(name).run
        [[_, stored]] = run["experiment"]["sources"]
        assert "return 'changed'" in (place.path / "runs" / stored).read_text()
        assert run["result"] == "changed"


# -- signals to workers --------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_to_the_runs_and_end_the_worker(place, number):
    place.write(TASK)
    for _ in range(4):
        queue(place, "with", "nap=60")
    worker = place.start(ROOT / "minisacred.py", "work", "runs", "-j", "2")
    wait_for(lambda: len(starts(place)) == 2)
    worker.send_signal(number)
    code, out, err = ended(worker)
    assert (code, err) == (-number, "")
    assert statuses(place) == {"1": "INTERRUPTED", "2": "INTERRUPTED", "3": "QUEUED", "4": "QUEUED"}
    assert sorted(line.split()[2] for line in out.splitlines()) == ["INTERRUPTED"] * 2
    assert "Aborted" in place.run().cout


@POSIX
def test_what_had_not_begun_when_the_worker_was_stopped_is_queued_again(place):
    place.write(TASK)
    queue(place)
    queue(place, "-P", "5")
    before = {path.name for path in (place.path / "runs/2").iterdir()}
    worker = place.start(ROOT / "minisacred.py", "work", "runs", env={"HOLD": "never"})
    wait_for(lambda: importing(place) == 1)
    worker.terminate()
    code, out, _ = ended(worker)
    assert code == -signal.SIGTERM and out == "run 2 QUEUED\n"
    assert statuses(place) == {"1": "QUEUED", "2": "QUEUED"} and starts(place) == []
    assert before <= {path.name for path in (place.path / "runs/2").iterdir()}
    assert work(place).code == 0
    assert starts(place) == ["2", "1"]  # it has kept its priority


@POSIX
def test_a_signal_reaches_a_run_that_is_being_started(place, monkeypatch, capfd):
    place.write(TASK)
    queue(place, "with", "nap=60")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    class Popen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    worker = minisacred._Worker(str(place.path / "runs"))
    start = time.monotonic()
    worker.work()
    assert worker.signal == signal.SIGTERM and time.monotonic() - start < 30
    assert statuses(place) == {"1": "QUEUED"}


# -- runs that go on -----------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize(
    "how, status", [("kill", "DEAD"), ("fail", "FAILED"), ("terminate", "INTERRUPTED")]
)
def test_a_resumed_run_goes_on_in_its_own_directory(place, how, status):
    place.write(TRAINING)
    first = place.python(
        "exp.py", "-F", "runs", "-b", "0.05", "-c", "long", "with", "end_at=3", f"how={how}"
    )
    assert first.code != 0 and statuses(place) == {"1": status}
    before, config = place.run().run, place.run().config
    with open(place.path / "runs/1/metrics.jsonl", "ab") as file:
        file.write(b'{"name": "lo')  # torn by the kill
    done = place.python("exp.py", "--resume", "1", "-F", "runs")
    assert done.code == 0, done.err
    run = place.run()
    assert statuses(place) == {"1": "COMPLETED"} and run.run["result"] == 6
    epochs = [line for line in run.cout.splitlines() if line.startswith("epoch")]
    assert epochs == [f"epoch {n} fresh" for n in range(3)] + [
        f"epoch {n} resumed" for n in range(3, 6)
    ]
    assert [line["step"] for line in run.lines] == run.metrics["loss"]["steps"] == [*range(6)]
    assert run.metrics["loss"]["values"] == [1 / (n + 1) for n in range(6)]
    [attempt] = run.run["attempts"]
    assert attempt["status"] == status and attempt["start_time"] == before["start_time"]
    assert attempt["host"]["pid"] == before["host"]["pid"]
    assert attempt["stop_time"] == before["stop_time"]
    assert (attempt["stop_time"] is None) == (how == "kill")
    assert run.run["fail_trace"] is None and run.run["meta"]["comment"] == "long"
    assert run.config == config


def test_a_run_can_be_resumed_more_than_once(place):
    place.write(
        """
        @ex.main
        def main(_run):
            ex.log_scalar("x", 1.5, step=10 * (len(_run.info) + 1))
            ex.log_scalar("x", 2.5)
            _run.info[str(len(_run.info))] = _run.resumed
            assert len(_run.info) == 3, len(_run.info)
        """
    )
    seeds = set()
    for argv in ([], ["--resume", "1"], ["--resume", "1"]):
        done = place.python("exp.py", "-F", "runs", *argv)
        seeds.add(place.run().config["seed"])
    run = place.run()
    assert done.code == 0 and run.run["status"] == "COMPLETED", done.err
    assert [attempt["status"] for attempt in run.run["attempts"]] == ["FAILED", "FAILED"]
    assert run.info == {"0": False, "1": True, "2": True}
    assert run.metrics["x"]["steps"] == [10, 11, 20, 21, 30, 31]
    assert run.cout.count("Started run with ID") == 3 and len(seeds) == 1


@POSIX
def test_a_training_loop_survives_being_terminated_again_and_again(place):
    place.write(TRAINING)
    argv, cout = ["with", "epochs=12", "nap=0.1"], place.path / "runs/1/cout.txt"
    for attempt in range(30):
        process, before = place.start("exp.py", "-F", "runs", *argv), attempt and cout.read_bytes()
        wait_for(lambda: cout.exists() and cout.read_bytes() != before)
        try:
            process.wait(timeout=0.7)
        except subprocess.TimeoutExpired:
            process.terminate()
        ended(process)
        if statuses(place)["1"] == "COMPLETED":
            break
        assert process.returncode == -signal.SIGTERM
        argv = ["--resume", "1"]
    run = place.run()
    assert attempt >= 1
    assert [a["status"] for a in run.run["attempts"]] == ["INTERRUPTED"] * attempt
    epochs = [int(line.split()[1]) for line in run.cout.splitlines() if line.startswith("epoch")]
    assert sorted(set(epochs)) == [*range(12)] and epochs == sorted(epochs)
    assert run.metrics["loss"]["steps"] == [*range(len(epochs))]


def test_who_ran_an_earlier_attempt_is_not_who_resumes(place):
    place.write(TRAINING)
    queue(place, "with", "end_at=2", "how=fail")
    assert work(place).code == 1 and place.run().run["meta"]["worker"]
    assert place.python("exp.py", "--resume", "1", "-F", "runs").code == 0
    assert "worker" not in place.run().run["meta"]


# -- sweeps --------------------------------------------------------------------------------

SWEEP = """
@ex.config
def config():
    lr = 0.1
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
def main(lr, text, layers, model):
    assert lr != 13, "unlucky"
    return [lr, text, layers, model["size"]]
"""


def points(place):
    return [[r["config"][k] for k in ("lr", "seed")] for r in load_runs(place.path / "runs")]


def test_over_runs_the_product_of_lists_ranges_and_named_configs(place):
    place.write(SWEEP)
    done = place.python(
        "exp.py", "with", "text=x", "over", "lr=0.1,1", "seed=range(2)", "small,large",
        "-F", "runs", "-j", "2",
    )  # fmt: skip
    assert done.code == 0, done.err
    runs = list(load_runs(place.path / "runs"))
    assert [run["result"] for run in runs] == [
        [lr, "x", [1], size] for lr in (0.1, 1.0) for _ in range(2) for size in (2, 200)
    ]
    assert [run["config"]["seed"] for run in runs] == [0, 0, 1, 1] * 2
    assert len({run["host"]["pid"] for run in runs}) == 8
    table = done.out.splitlines()[-9:]
    assert table[0].split() == ["id", "lr", "seed", "with", "status", "result"]
    assert table[1].split()[:5] == ["1", "0.1", "0", "small", "COMPLETED"]


@pytest.mark.parametrize(
    "word, values",
    [
        ("layers=[1,2],[3]", [[1, 2], [3]]),
        ("text='a,b',c", ["a,b", "c"]),
        ("text=a b,x=y", ["a b", "x=y"]),
        ("""text="it's",'(',[""", ["it's", "(", "["]),
        ("lr=range(3)", [0.0, 1.0, 2.0]),
        ("lr=range(4,0,-2),9", [4.0, 2.0, 9.0]),
        ("model.size=1,2", [1, 2]),
        ("model.deep=yes,off", [True, False]),
        ("lr=1e-3", [0.001]),
    ],
)
def test_over_takes_literals_strings_and_brackets(place, word, values):
    place.write(SWEEP)
    done = place.python("exp.py", "-q", "over", word, "-F", "runs")
    assert done.code == 0, done.err
    path = word.partition("=")[0].split(".")
    found = [run["config"] for run in load_runs(place.path / "runs")]
    for name in path:
        found = [config[name] for config in found]
    assert found == values
    assert set(statuses(place).values()) == {"QUEUED"}


def test_over_leaves_out_what_is_done(place):
    place.write(SWEEP)
    assert place.python("exp.py", "with", "lr=0.1", "seed=1", "-F", "runs").code == 0
    assert place.python("exp.py", "with", "lr=13", "-F", "runs").code == 1  # failed: not done
    argv = ["-q", "--skip-done", "-F", "runs", "over"]
    assert place.python("exp.py", *argv, "lr=0.1,13").code == 0
    assert [lr for lr, _ in points(place)] == [0.1, 13, 13]
    assert place.python("exp.py", *argv, "lr=0.1", "seed=1,2").code == 0
    assert points(place)[3:] == [[0.1, 2]]
    done = place.python("exp.py", *argv, "lr=0.1")
    assert done.code == 0 and "all are done" in done.err


def test_over_refuses_mistakes_before_anything_is_queued(place):
    place.write(SWEEP)
    for code, argv, problem in [
        (1, ["over", "lr=1", "lrr=1,2"], "'lr'"),
        (1, ["over", "lr=1", "model.deep=true,maybe"], "boolean"),
        (1, ["over", "lr=1,2", "small,larg"], "'large'"),
        (1, ["with", "smal", "over", "lr=1,2"], "'small'"),
        (2, ["over", "lr="], "empty value"),
        (2, ["over", "lr=1,,2"], "empty value"),
        (2, ["over"], "needs what to vary"),
        (2, ["over", "lr=range(0)"], "empty value"),
        (2, ["over", "lr=1", "--id", "x"], "leave out --id"),
        (2, ["over", "lr=1", "with", "text=b"], "'with' comes before 'over'"),
        (2, ["mian", "over", "lr=1"], "'main'"),
    ]:
        done = place.python("exp.py", *argv, "-F", "runs")
        assert (done.code, done.out) == (code, ""), argv
        assert problem in done.err and done.err.count("\n") == 1, done.err
    done = place.python("exp.py", "over", "lr=1,2")
    assert done.code == 2 and "add -F DIR" in done.err
    assert not (place.path / "runs").exists()


def test_over_exits_with_1_when_a_run_failed(place):
    place.write(SWEEP)
    done = place.python("exp.py", "over", "lr=13,2", "-F", "runs")
    assert done.code == 1 and "Traceback" not in done.err
    assert [line.split()[:3] for line in done.out.splitlines()[-2:]] == [
        ["1", "13", "FAILED"],
        ["2", "2", "COMPLETED"],
    ]


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_over_interrupted_leaves_the_rest_queued_and_says_how_to_go_on(place, number):
    place.write(TASK)
    process = place.start("exp.py", "with", "nap=60", "over", "n=1,2,3,4", "-F", "runs")
    wait_for(lambda: starts(place) == ["1"])
    process.send_signal(number)
    code, out, err = ended(process)
    assert code == -number
    assert [*statuses(place).values()] == ["INTERRUPTED", "QUEUED", "QUEUED", "QUEUED"]
    [told] = [line for line in err.splitlines() if "still queued" in line]
    assert "3 runs are still queued" in told
    command = told.partition("start them by: python ")[2].split()
    for name in "234":  # less patience
        path = place.path / "runs" / name / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "nap": 0}))
    assert place.python(*command).code == 0
    assert [*statuses(place).values()] == ["INTERRUPTED"] + ["COMPLETED"] * 3


def test_over_starts_its_own_runs_only(place):
    place.write(TASK)
    queue(place, "-P", "9")
    assert place.python("exp.py", "over", "n=1,2", "-F", "runs").code == 0
    assert statuses(place) == {"1": "QUEUED", "2": "COMPLETED", "3": "COMPLETED"}


# -- looking at claims ---------------------------------------------------------------------


def test_a_claimed_run_whose_starter_died_is_dead(place):
    place.write(TASK)
    queue(place)
    folder = str(place.path / "runs" / "1")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    minisacred._claim(folder, 0)
    assert statuses(place) == {"1": "QUEUED"}  # we live
    here = {**minisacred._this_process(), "pid": gone.pid}
    minisacred._claim(folder, 1, host=here)
    assert statuses(place) == {"1": "DEAD"}
    there = {**here, "hostname": "elsewhere"}
    minisacred._claim(folder, 2, host=there)
    assert statuses(place) == {"1": "QUEUED"}  # it may be starting just now
    minisacred._claim(folder, 3, host=there, heartbeat="2020-01-01T00:00:00.000000")
    assert statuses(place) == {"1": "DEAD"}


def test_run_whose_id_begins_with_zeros_is_resumed_in_its_own_directory(place):
    place.write(TASK)
    assert place.python("exp.py", "-i", "7", "-F", "runs").code == 0
    assert place.python("exp.py", "-i", "007", "-F", "runs", "with", "n=-1").code == 1
    done = place.python("exp.py", "--resume", "007", "-F", "runs")
    assert 'Started run with ID "007"' in done.err
    assert statuses(place) == {"7": "COMPLETED", "007": "FAILED"}


PACKAGE_RUN = """
from minisacred import Experiment
from . import helper
import os
ex = Experiment("exp")

@ex.automain
def main(_run):
    if os.path.exists("die") and not _run.resumed:
        os.kill(os.getpid(), 9)
    return open("data").read()
"""


@POSIX
def test_retry_dead_starts_a_module_as_it_was_started_first(place):
    place.write("", "pack/__init__.py", header="", footer="")
    place.write("", "pack/helper.py", header="", footer="")
    place.write(PACKAGE_RUN, "pack/exp.py", header="", footer="")
    (place.path / "die").touch()
    (place.path / "data").write_text("read")
    assert place.python("-m", "pack.exp", "-F", "runs").code == -9
    assert place.python(ROOT / "minisacred.py", "work", "runs", "--retry-dead").code == 0
    assert place.run("1").run["result"] == "read"


def test_experiment_of_a_package_is_queued_by_who_imports_it(place):
    place.write("", "pack/__init__.py", header="", footer="")
    place.write("", "pack/helper.py", header="", footer="")
    place.write(PACKAGE_RUN, "pack/exp.py", header="", footer="")
    (place.path / "data").write_text("read")
    source = (
        "from pack.exp import ex\nex.observers.append(FileStorageObserver('runs'))\nex.queue()\n"
    )
    place.write(source, "driver.py", header="from minisacred import *\n", footer="")
    assert place.python("driver.py").code == 0
    assert work(place).code == 0 and statuses(place) == {"1": "COMPLETED"}


def test_script_that_runs_an_experiment_of_another_file_is_started_again(place):
    place.write(TASK, footer="")
    place.write("from exp import ex\nex.run_commandline()\n", "top.py", header="", footer="")
    done = place.python("top.py", "over", "n=1,2", "-F", "runs")
    assert done.code == 0 and statuses(place) == {"1": "COMPLETED", "2": "COMPLETED"}


def test_program_that_has_a_child_do_the_run_is_no_failure(place):
    header = """import os, subprocess, sys
if "CHILD" not in os.environ:
    sys.exit(subprocess.call([sys.executable, *sys.argv], env={**os.environ, "CHILD": "1"}))
from minisacred import *
ex = Experiment("exp")
"""
    place.write(TASK, header=header)
    queue(place)
    done = work(place)
    assert (done.code, statuses(place)) == (0, {"1": "COMPLETED"}), done.out


@POSIX
def test_run_whose_process_cannot_be_started_stays_queued(place):
    place.write(TASK)
    for _ in range(3):
        queue(place, "with", "nap=0.3")
    few = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (8, 8)); "
    start = f"import runpy, sys; sys.argv[1:] = ['work', 'runs', '-j', '3']; runpy.run_path({str(ROOT / 'minisacred.py')!r}, run_name='__main__')"
    done = place.python("-c", few + start)
    assert "NOT STARTED" in done.out
    assert "QUEUED" in statuses(place).values() and "DEAD" not in statuses(place).values()
    assert work(place).code == 0 and set(statuses(place).values()) == {"COMPLETED"}


@pytest.mark.parametrize("option", [("-u",), ("-q",), ("-i", "9")])
@pytest.mark.parametrize("how", ["--start-queued", "--resume"])
def test_options_that_contradict_going_on_are_refused(place, how, option):
    place.write(TASK)
    queue(place)
    done = place.python("exp.py", how, "1", *option, "-F", "runs")
    assert done.code == 2 and "leave out --unobserved, --queue and --id" in done.err
    assert statuses(place) == {"1": "QUEUED"}


def test_worker_goes_on_after_records_of_a_wrong_shape(place):
    place.write(TASK)
    queue(place)
    queue(place)
    (place.path / "runs" / "1" / "run.json").write_text('{"status": "QUEUED", "experiment": "x"}')
    done = work(place)
    assert "run 1 DAMAGED run.json: experiment is no dict" in done.out
    assert done.code == 1 and statuses(place)["2"] == "COMPLETED"


def test_changed_sources_are_told_in_the_output_of_the_run(place):
    path = place.write(TASK)
    queue(place)
    path.write_text(path.read_text() + "# changed\n")
    assert work(place).code == 0
    assert "changed since the run was recorded first: exp.py" in place.run("1").cout


@POSIX
def test_sweep_that_is_interrupted_while_it_queues_says_how_to_go_on(place):
    place.write(TASK)
    process = place.start("exp.py", "over", "n=range(3000)", "-F", "runs")
    wait_for(lambda: (place.path / "runs" / "20" / "run.json").exists())
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == -signal.SIGTERM and re.search(r"\d+ runs are still queued; start them by: ", err)
    assert set(statuses(place).values()) == {"QUEUED"}


@pytest.mark.parametrize(
    "words, values",
    [
        ("name='it\\'s',b", ["it's", "b"]),
        ("name=don't,can't", ["don't", "can't"]),
        ("name=:),:(", [":)", ":("]),
        ("name=a),b", ["a)", "b"]),
        ("name=[1,2],(3,4)", ["[1,2]", "(3,4)"]),
        ("name='a,b', 'c,d'", ["a,b", "c,d"]),
    ],
)
def test_values_of_a_sweep_divide_at_commas_outside_of_brackets_and_quotes(words, values):
    [choices] = minisacred._parse_sweep([words])
    made = [updates["name"].as_type_of("text", "name") for updates, _ in choices]
    assert made == values


@pytest.mark.parametrize("option", ["--start-queued", "--resume"])
def test_run_of_another_experiment_is_refused(place, option):
    place.write(TASK)
    queue(place, "with", "n=1")
    if option == "--resume":
        place.python("exp.py", "with", "n=-1", "-F", "runs")
    (place.path / "other.py").write_text((place.path / "exp.py").read_text())
    text = (place.path / "exp.py").read_text().replace("Experiment(", "Experiment('other' or ")
    (place.path / "other.py").write_text(text)
    before = sorted((place.path / "runs").rglob("*"))
    number = "1" if option == "--start-queued" else "2"
    done = place.python("other.py", option, number, "-F", "runs")
    assert done.code == 1 and done.err.count("\n") == 1
    assert f"run '{number}' is one of 'exp' in exp.py, not of 'other'; after" in done.err
    assert sorted((place.path / "runs").rglob("*")) == before


def test_unobserved_command_cannot_be_queued(place):
    place.write(TASK + "\n@ex.command(unobserved=True)\ndef peek(): pass\n")
    done = place.python("exp.py", "peek", "-q", "-F", "runs")
    assert done.code == 2 and "command 'peek' is never recorded, and cannot" in done.err
    done = place.python("exp.py", "-u", "-q", "-F", "runs")
    assert done.code == 2 and "a queued run is recorded: leave out --unobserved" in done.err


def test_range_that_cannot_be_is_a_usage_error(place):
    place.write(TASK)
    done = place.python("exp.py", "over", "n=range(1,5,0)", "-F", "runs")
    assert done.code == 2 and "'range(1,5,0)': write range(STOP)" in done.err


def test_skip_done_minds_the_seed_of_a_named_config(place):
    place.write(TASK.replace("    seed = 7\n", "") + "\nex.add_named_config('seeded', seed=7)\n")
    assert place.python("exp.py", "-F", "runs").code == 0
    again = place.python("exp.py", "over", "n=0", "--skip-done", "-F", "runs")
    assert "Queued-up runs: 0 (all are done)" in again.err
    done = place.python("exp.py", "over", "seeded", "--skip-done", "-F", "runs")
    assert "Queued-up runs: 1 (" in done.err


def test_run_with_a_damaged_line_of_metrics_is_resumed(place):
    place.write(TRAINING)
    assert place.python("exp.py", "with", "end_at=3", "-b", "0.05", "-F", "runs").code == -9
    path = place.path / "runs" / "1" / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], '{"name": "los\n', *lines[2:]]))
    done = place.python("exp.py", "--resume", "1", "-F", "runs")
    assert done.code == 0 and statuses(place) == {"1": "COMPLETED"}


def test_recorded_configuration_is_taken_as_it_is_where_the_scope_cannot_begin_with_it(place):
    place.write(
        """
        @ex.config
        def config():
            tags = "a,b"
            tags = tags.split(",")

        @ex.main
        def main(tags):
            return tags
        """
    )
    queue(place)
    assert work(place).code == 0 and place.run("1").run["result"] == ["a", "b"]


def test_sweep_whose_runs_cannot_begin_says_why(place):
    header = "import sys\nif '--start-queued' in sys.argv:\n    sys.exit('boom: no GPU')\n"
    place.write(TASK, header=header + "from minisacred import *\nex = Experiment('exp')\n")
    done = place.python("exp.py", "over", "n=1,2", "-F", "runs")
    assert done.code == 1 and statuses(place) == {"1": "FAILED", "2": "FAILED"}
    assert "boom: no GPU" in "".join(place.run("1").run["fail_trace"])


TWO = """
import os
if os.environ.get("ALSO"):
    ex.observers.append(FileStorageObserver(os.environ["ALSO"]))
ex.add_config(x=1)

@ex.main
def main(x, _run):
    print("x is", x)
    _run.log_scalar("m", x)
    return x
"""


@pytest.mark.parametrize("option", ["--start-queued", "--resume"])
def test_run_of_another_directory_with_the_same_id_is_left_alone(place, option):
    place.write(TWO)
    assert place.python("exp.py", "with", "x=111", "-F", "other").code == 0
    assert place.python("exp.py", "-q", "with", "x=222", "-F", "runs").code == 0
    if option == "--resume":
        path = place.path / "runs/1/run.json"
        path.write_text(path.read_text().replace("QUEUED", "FAILED"))
    before = contents(place.path / "other")
    done = place.python("exp.py", option, "1", "-F", "runs", env={"ALSO": "other"})
    assert done.code == 1 and "run '1' in " in done.err and "is that of another run" in done.err
    assert contents(place.path / "other") == before


def test_run_goes_on_in_all_directories_that_have_it(place):
    place.write(TWO)
    also = {"ALSO": "other"}
    assert place.python("exp.py", "-q", "with", "x=5", "-F", "runs", env=also).code == 0
    assert place.python("exp.py", "--start-queued", "1", "-F", "runs", env=also).code == 0
    for folder in ("runs", "other"):
        [run] = load_runs(place.path / folder)
        assert run["result"] == 5 and run["metrics"]["m"]["values"] == [5]
        assert "x is 5\n" in (place.path / folder / "1/cout.txt").read_text()


def test_directory_under_two_names_is_recorded_once(place):
    (place.path / "real").mkdir()
    (place.path / "runs").symlink_to("real")
    place.write(TWO)
    runs = {"ALSO": "runs"}
    assert place.python("exp.py", "-q", env=runs).code == 0
    assert place.python("-m", "minisacred", "work", "real", env=runs).code == 0
    assert place.python("exp.py", "-F", "real", env=runs).code == 0
    assert [run["metrics"]["m"]["values"] for run in load_runs(place.path / "real")] == [[1], [1]]


def test_hook_that_adds_an_observer_serves_sweeps(place):
    done = place(
        """
        ex.add_config(a=1)

        @ex.config_hook
        def hook(config, command_name, logger):
            ex.observers.append(FileStorageObserver("mine"))
            return config

        ex.main(lambda a: a)
        """,
        "over", "a=1,2", "-F", "runs",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert [run["result"] for run in load_runs(place.path / "runs")] == [1, 2]


@pytest.mark.parametrize(
    "argv", [["-m", "pkg.cli"], ["-m", "pkg"], ["bin/train"], ["app"], ["tools/run.py"]]
)
def test_run_is_started_again_by_the_program_that_made_it(place, argv):
    for folder in ("pkg", "bin", "app", "tools"):
        (place.path / folder).mkdir()
    place.write(TWO, name="pkg/exp.py", footer="")
    place.write("", name="pkg/__init__.py", header="", footer="")
    run = "from pkg.exp import ex\nex.run_commandline()\n"
    for name in ("pkg/cli.py", "bin/train", "app/__main__.py", "tools/run.py"):
        place.write(run, name=name, header="", footer="")
    place.write(run.replace("pkg.exp", ".exp"), name="pkg/__main__.py", header="", footer="")
    path = os.pathsep.join([str(ROOT), str(place.path)])
    done = place.python(*argv, "over", "x=1,2", "-F", "runs", env={"PYTHONPATH": path})
    assert done.code == 0, done.err + done.out
    assert [run["result"] for run in load_runs(place.path / "runs")] == [1, 2]


def test_run_of_sacred_is_resumed_with_its_metrics(place):
    """The directory is as Sacred 0.8 leaves it."""
    times = [f"2026-01-31T12:00:0{i}.000000" for i in range(2)]
    records = {
        "run.json": {
            "artifacts": [], "command": "main", "status": "FAILED", "result": None,
            "experiment": {
                "base_dir": str(place.path), "mainfile": "exp.py", "name": "exp",
                "dependencies": [], "repositories": [], "sources": [],
            },
            "meta": {
                "command": "main",
                "options": {"--force": False, "--mongo_db": None, "--sql": None, "--name": None},
            },
            "resources": [], "start_time": times[0], "stop_time": times[1], "heartbeat": times[1],
            "host": {}, "fail_trace": [],
        },
        "config.json": {"x": 7, "seed": 5},
        "metrics.json": {"m": {"steps": [0, 1], "values": [1.5, 2.5], "timestamps": times}},
    }  # fmt: skip
    folder = place.path / "runs/1"
    folder.mkdir(parents=True)
    for name, content in records.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "cout.txt").write_text("before\n")
    done = place(TWO, "--resume", "1", "-F", "runs")
    assert done.code == 0, done.err
    [run] = load_runs(place.path / "runs")
    assert run["result"] == 7 and run["metrics"]["m"]["values"] == [1.5, 2.5, 7]
    assert run["metrics"]["m"]["steps"] == [0, 1, 2]
    assert "before\n" in (folder / "cout.txt").read_text()


@pytest.mark.parametrize(
    "value",
    [
        '[{"kernel": (3, 3)}]',
        "[{1: 2}, {3: {4: 5}}]",
        '[float("inf"), {"a": float("inf")}]',
        '{"x": [{"y": {"z": (1, 2)}}]}',
    ],
)
def test_types_inside_lists_and_dictionaries_survive_the_queue(place, value):
    source = f"""
    @ex.config
    def config():
        value = {value}

    @ex.main
    def main(value):
        return repr(value)
    """
    assert place(source, "-q", "-F", "runs").code == 0
    done = place.python("exp.py", "--start-queued", "1", "-F", "runs")
    assert done.run().run["result"] == repr(eval(value))


def test_id_may_be_given_as_load_runs_yields_it(place):
    done = place(
        """
        ex.observers.append(FileStorageObserver("runs"))
        ex.main(lambda: 5)
        number = ex.queue()
        [run] = __import__("minisacred").load_runs("runs")
        print(ex.run(options={"start_queued": run["_id"]}).result)
        """,
        script={"footer": ""},
    )
    assert done.out == "5\n", done.err


def test_program_that_changes_its_directory_is_started_again(place):
    place.write(TWO, name="exp.py", footer="")
    text = "import os\nos.chdir(os.path.dirname(os.path.abspath(__file__)))\n"
    text += "import sys; sys.path.insert(0, '..')\nfrom exp import ex\nex.run_commandline()\n"
    place.write(text, name="tools/run.py", header="", footer="")
    assert place.python("tools/run.py", "-q", "-F", place.path / "runs").code == 0
    assert work(place).code == 0 and place.run().run["result"] == 1


def test_run_that_a_test_runner_queued_is_started_by_its_script(place):
    place.write(TWO, name="exp.py")
    text = "from exp import ex\nex.run_commandline(['exp', '-q', '-F', 'runs'])\n"
    place.write(text, name="runner.py", header="", footer="")
    assert place.python("-c", "import runner").code == 0
    assert work(place).code == 0 and place.run().run["result"] == 1


def test_empty_option_is_kept(place):
    header = """
from minisacred import *

@cli_option("-o", "--opt")
def opt(value, run):
    run.info["opt"] = value

ex = Experiment("exp", additional_cli_options=[opt])
"""
    source = "ex.main(lambda _run: _run.info)\n"
    script = {"header": header}
    assert place(source, "-q", "-F", "runs", "--opt=", script=script).code == 0
    assert work(place).code == 0 and place.run().run["result"] == {"opt": ""}


def test_damaged_metrics_of_sacred_are_left_out_with_a_warning(place):
    place.write(TWO)
    assert place.python("exp.py", "-q", "-F", "runs").code == 0
    (place.path / "runs/1/metrics.jsonl").unlink()
    (place.path / "runs/1/metrics.json").write_text('{"m": {"ste')
    done = place.python("exp.py", "--start-queued", "1", "-F", "runs")
    assert done.code == 0 and "metrics.json is damaged" in done.err
    assert place.run().run["result"] == 1


def test_driver_that_names_the_program_itself_is_started_again(place):
    place.write(TWO, name="exp.py", footer="")
    text = "import sys\nfrom exp import ex\nex.run_commandline(['train'] + sys.argv[1:])\n"
    place.write(text, name="driver.py", header="", footer="")
    done = place.python("driver.py", "over", "x=4,5", "-F", "runs")
    assert done.code == 0, done.out
    assert [run["result"] for run in load_runs(place.path / "runs")] == [4, 5]


def test_dictionary_in_the_place_of_a_list_goes_through_the_queue(place):
    place.write("ex.add_config(layers=[1, 2])\n@ex.main\ndef main(layers): return layers\n")
    queue(place, "with", "layers={'conv': 2}")
    assert work(place).code == 0
    assert place.run().run["result"] == {"conv": 2}


def test_infinity_for_an_integer_goes_through_the_queue(place):
    place.write("ex.add_config(steps=1000)\n@ex.main\ndef main(steps): return repr(steps)\n")
    queue(place, "with", "steps=1e999")
    assert work(place).code == 0 and place.run().run["result"] == "inf"


@POSIX
def test_undecodable_text_goes_through_the_queue(place):
    place.write("ex.add_config(path='x')\n@ex.main\ndef main(path): return ascii(path)\n")
    queue(place, "with", os.fsdecode(b"path=/data/\xff.bin"))
    assert work(place).code == 0 and place.run().run["result"] == "'/data/\\udcff.bin'"
    again = place.python("exp.py", "with", "runs/1/config.json", "-F", "runs")
    assert again.code == 0 and place.run("2").run["result"] == "'/data/\\udcff.bin'"


def test_steps_go_on_after_one_that_was_no_finite_number(place):
    place.write(
        """
        @ex.main
        def main(_run):
            if not _run.resumed:
                _run.log_scalar("x", 1.0, float("inf"))
                raise RuntimeError
            _run.log_scalar("x", 2.0)
            _run.log_scalar("ok", 3.0)
        """
    )
    place.python("exp.py", "-F", "runs")
    done = place.python("exp.py", "--resume", "1", "-F", "runs")
    assert done.code == 0 and "failed" not in done.err
    [run] = minisacred.load_runs(place.path / "runs")
    assert run["metrics"]["ok"]["values"] == [3.0]
    assert run["metrics"]["x"]["steps"] == ["Infinity", "Infinity"]


@pytest.mark.parametrize("launcher", [(), ("-m", "cProfile", "-o", "p.out")])
def test_program_under_a_profiler_is_started_by_its_file(place, launcher):
    place.write(TASK)
    assert place.python(*launcher, "exp.py", "-q", "with", "n=1", "-F", "runs").code == 0
    done = work(place)
    assert done.code == 0, done.out
    assert place.run().run["status"] == "COMPLETED"


def test_program_that_imports_its_experiment_is_started_again(place):
    """The experiment is in a module of a package, @ex.automain in the script."""
    (place.path / "pkg").mkdir()
    (place.path / "pkg" / "__init__.py").write_text("")
    place.write("ex.add_config(n=1)\n", "pkg/config.py", footer="")
    (place.path / "run.py").write_text(
        "from pkg.config import ex\n@ex.automain\ndef main(n):\n    return n\n"
    )
    assert place.python("run.py", "-q", "-F", "runs").code == 0
    for _ in range(2):
        assert work(place).code == 0
    run = place.run().run
    assert run["status"] == "COMPLETED" and "module" not in run["meta"]
    assert run["meta"]["script"] == str(place.path / "run.py")
    names = {name for name, _ in run["experiment"]["sources"]}
    assert names >= {"pkg/config.py", "run.py"}


@POSIX
@pytest.mark.parametrize("stdout", [None, "/dev/full"])
def test_worker_whose_output_goes_nowhere_starts_all_runs(place, stdout):
    place.write(TASK)
    for n in (1, 2):
        queue(place, "with", f"n={n}")
    where = f">{stdout}" if stdout else ">&-"
    command = shlex.join([sys.executable, str(ROOT / "minisacred.py"), "work", "runs"])
    done = subprocess.run(
        f"{command} {where}",
        shell=True,
        cwd=place.path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [place.run(n).run["status"] for n in "12"] == ["COMPLETED"] * 2


@POSIX
def test_run_of_another_process_space_is_judged_by_its_heartbeat(place):
    """A container may have the host's name, and a process of the same number."""
    place.write(TASK)
    assert place.python("exp.py", "-F", "runs").code == 0
    path = place.path / "runs" / "1" / "run.json"
    entry = json.loads(path.read_text())
    entry["status"] = "RUNNING"
    path.write_text(json.dumps(entry))
    assert next(minisacred.load_runs(place.path / "runs"))["status"] == "DEAD"
    entry["host"]["pid_space"] = "another"
    path.write_text(json.dumps(entry))
    assert next(minisacred.load_runs(place.path / "runs"))["status"] == "RUNNING"
    entry["heartbeat"] = "2020-01-01T00:00:00.000000"
    path.write_text(json.dumps(entry))
    assert next(minisacred.load_runs(place.path / "runs"))["status"] == "DEAD"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_claim_that_could_not_be_written_is_no_claim(place, monkeypatch):
    """On a file system without hard links, when the disk is full."""
    place.write(TASK)
    queue(place, "with", "n=1")
    folder = str(place.path / "runs" / "1")

    real = os.write

    def refused(*_):
        raise OSError(28, "No space left on device")

    def write(fd, data):
        name = os.readlink(f"/proc/self/fd/{fd}")
        return refused() if ".claim-" in name and not name.endswith(".tmp") else real(fd, data)

    monkeypatch.setattr(os, "link", refused)
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", write)
        with pytest.raises(OSError):
            minisacred._claim(folder, 0)
    assert [name for name in os.listdir(folder) if name.startswith(".claim")] == []
    assert minisacred._claim(folder, 0)


def test_renamed_program_or_experiment_starts_its_queued_runs(place):
    place.write(TASK)
    for argv in (["-n", "gamma"], [], []):
        queue(place, "with", "n=1", *argv)
    (place.path / "exp.py").rename(place.path / "new.py")
    done = place.python("new.py", "-n", "gamma", "--start-queued", "1", "-F", "runs")
    assert done.code == 0, done.err
    assert place.python("new.py", "--start-queued", "2", "-F", "runs").code == 0
    text = (place.path / "new.py").read_text().replace('Experiment("exp")', 'Experiment("renamed")')
    (place.path / "new.py").write_text(text)
    assert place.python("new.py", "--start-queued", "3", "-F", "runs").code == 1
    assert place.python("new.py", "-n", "exp", "--start-queued", "3", "-F", "runs").code == 0


DISPATCHER = """
import sys
from minisacred import Experiment
cats, dogs = Experiment("cats"), Experiment("dogs")
for ex in (cats, dogs):
    ex.add_config(lr=1)
    ex.main(lambda lr, _run: f"{_run.experiment_name} {lr}")
    ex.default_command = "<lambda>"
"""


@pytest.mark.parametrize(
    ("dispatch", "argv"),
    [
        ("{'a': cats, 'b': dogs}[sys.argv.pop(1)].run_commandline()", "b -q with lr=2 -F runs"),
        (
            "words = [w for w in sys.argv if not w.startswith('--exp=')]\n"
            "(dogs if '--exp=dogs' in sys.argv else cats).run_commandline(words)",
            "-q with lr=2 --exp=dogs -F runs",
        ),
    ],
)
def test_words_of_the_program_itself_start_the_right_experiment(place, dispatch, argv):
    (place.path / "exp.py").write_text(DISPATCHER + dispatch + "\n")
    assert place.python("exp.py", *argv.split()).code == 0
    done = work(place)
    assert done.code == 0, done.out
    assert place.run().run["result"] == "dogs 2"


def test_recorded_configuration_gets_its_types_back_where_a_scope_cannot_take_it(place):
    """The scope makes a list of a text, and fails when it begins with the list."""
    place.write(
        """
        @ex.config
        def config():
            layers = "64,32"
            layers = [int(x) for x in layers.split(",")]
            clip = float("inf")
            betas = (0.9, 0.99)
            names = {0: "cat"}

        @ex.main
        def main(layers, clip, betas, names):
            return repr((layers, clip, betas, dict(names)))
        """
    )
    direct = place.python("exp.py", "-F", "runs")
    assert direct.code == 0
    queue(place)
    assert work(place).code == 0
    assert place.run("2").run["result"] == place.run("1").run["result"]


def test_order_of_dictionaries_goes_through_the_queue(place):
    place.write(
        """
        @ex.named_config
        def deep():
            stages = {"stem": 1, "body": {"z": 1, "a": 2}, "head": 3}

        @ex.main
        def main(stages={}):
            return [*stages, *stages["body"]]
        """
    )
    queue(place, "with", "deep")
    assert work(place).code == 0
    assert place.run().run["result"] == ["stem", "body", "head", "z", "a"]


def test_integer_keys_of_several_sources_go_through_the_queue(place):
    place.write(
        """
        ex.add_config(d={"a": 1})
        ex.add_config(d={2: True})

        @ex.main
        def main(d):
            return repr(dict(d))
        """
    )
    assert place.python("exp.py", "with", "d.2=no", "-F", "runs").code == 0
    assert place.run("1").run["result"] == "{'a': 1, 2: False}"
    queue(place)
    assert work(place).code == 0
    assert place.run("2").run["result"] == "{'a': 1, 2: True}"


def test_process_that_goes_on_resumes_its_run_again(place):
    done = place(
        """
        ex.observers.append(FileStorageObserver("runs"))

        @ex.main
        def main(_run):
            raise ValueError("attempt")

        for options in ({}, {"resume": "1"}, {"resume": "1"}):
            try:
                ex.run(options=options)
            except ValueError as error:
                print(error)
        """,
        script={"footer": ""},
    )
    assert done.out == "attempt\n" * 3, done.err
    attempts = done.run().run["attempts"]
    assert len(attempts) == 2 and attempts[0]["fail_trace"][-1] == "ValueError: attempt\n"


def test_queued_run_that_an_observer_kept_from_beginning_stays_queued(place):
    place.write(
        """
        import os
        class Away(RunObserver):
            priority = 50
            def started_event(self, **facts):
                raise OSError("away")

        if os.environ.get("AWAY"):
            ex.observers.append(Away())

        @ex.main
        def main(): return 1
        """
    )
    queue(place)
    done = place.python("exp.py", "--start-queued", "1", "-F", "runs", env={"AWAY": "1"})
    assert done.code == 1 and next(load_runs(place.path / "runs"))["status"] == "QUEUED"
    assert work(place).code == 0 and place.run().run["status"] == "COMPLETED"


def test_option_hooks_see_the_recorded_options_once(place):
    place.write(
        """
        @ex.option_hook
        def hook(options):
            print("hook", options["--comment"])

        @ex.main
        def main(): pass
        """
    )
    queue(place, "-c", "mine")
    done = place.python("exp.py", "--start-queued", "1", "-F", "runs")
    assert done.out == "hook mine\n"


def test_comment_and_priority_given_later_count(place):
    place.write("@ex.main\ndef main(): raise ValueError\n")
    queue(place, "-c", "one", "-P", "3")
    place.python("exp.py", "--start-queued", "1", "-c", "two", "-F", "runs")
    meta = place.run().run["meta"]
    assert (meta["comment"], meta["priority"]) == ("two", 3.0)


def test_enumerations_stay_what_they_are(place):
    place.write(
        """
        import enum
        class Kind(str, enum.Enum):
            SGD, ADAM = "sgd", "adam"
        class Level(enum.IntEnum):
            LOW, HIGH = 1, 2

        @ex.config
        def config():
            kind = Kind.SGD
            level = Level.LOW
            text = kind.name

        @ex.main
        def main(kind, level, text):
            return [kind.name, level.name, text]
        """
    )
    queue(place, "with", "kind=adam", "level=2")
    assert work(place).code == 0
    assert place.run().run["result"] == ["ADAM", "HIGH", "ADAM"]


def test_worker_starts_queued_runs_that_have_no_mark_as_those_of_sacred(place):
    place.write(TASK)
    for number in (1, 2, 3):
        queue(place, "with", f"n={number}", "-P", str(number))
    for number in (1, 3):
        (place.path / "runs" / str(number) / ".queued").unlink()
    done = work(place)
    assert done.code == 0, done.err
    assert (place.path / "starts").read_text().split() == ["3", "2", "1"]
    assert {place.run(n).run["status"] for n in "123"} == {"COMPLETED"}
