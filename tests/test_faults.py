"""Real faults done to real processes: what is promised must hold all the same."""

import contextlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from helpers import COPIERS, strict

import minisacred
from minisacred import FileStorageObserver, ObserverError, load_runs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and descriptors")

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc")

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)

#: Defines `report(text)`: appends a line to the file `side` by a channel of its own.
REPORT = """
import os
_side = os.open("side", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def report(text):
    os.write(_side, f"{text}\\n".encode())
"""

QUIET = """
@ex.main
def main(_run):
    print("hello")
    return 5
"""


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def reported(place):
    """Return the whole lines that a script has reported."""
    path = place.path / "side"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def files_below(folder):
    return [pathlib.Path(parent) / f for parent, _, files in os.walk(folder) for f in files]


def leftovers(folder):
    return [path for path in files_below(folder) if path.name.endswith(".tmp")]


def check_json(folder):
    """Every JSON file below the folder must be strict JSON, and whole."""
    for path in files_below(folder):
        if path.suffix == ".json" and not path.name.startswith("."):
            strict(path.read_bytes().decode("utf-8"))


def complete_runs(folder):
    runs = list(load_runs(folder))
    check_json(folder)
    for run in runs:
        assert run["status"] == "COMPLETED" and run["stop_time"] and "error" not in run, run
    assert not leftovers(folder)
    return runs


@contextlib.contextmanager
def small_disk(folder, size):
    """Mount a file system of that size; skip the test where this is impossible."""
    if os.geteuid() != 0:
        pytest.skip("a full disk needs root: mount -t tmpfs")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a full disk needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# -- killed ----------------------------------------------------------------------------------

STORM = (
    REPORT
    + """
import ctypes, itertools, subprocess
libc = ctypes.CDLL(None)

class Reporting(FileStorageObserver):
    '''Reports what it has stored, once it has.'''

    def log_metrics(self, metrics_by_name, info):
        super().log_metrics(metrics_by_name, info)
        report(f"metrics {metrics_by_name['loss']['values'][-1]}")

    def heartbeat_event(self, info, **state):
        i = info.get("i", -1)
        super().heartbeat_event(info=info, **state)
        report(f"info {i}")

ex.observers.append(Reporting("runs"))

@ex.main
def main(_run):
    for i in itertools.count():
        print("python", i, flush=True)
        report(f"line python {i}")
        libc.puts(b"puts %d" % i)
        libc.fflush(None)
        report(f"line puts {i}")
        text = b"write %d\\n" % i
        libc.write(1 + i % 2, text, len(text))
        report(f"line write {i}")
        if i % 20 == 5:
            subprocess.run(["sh", "-c", f"echo child {i}"])
            report(f"line child {i}")
        _run.log_scalar("loss", i)
        _run.info["i"] = i
"""
)


def check_killed(place, number):
    """Compare what the killed run has reported with what is stored."""
    said = {"line": [], "metrics": [-1], "info": [-1]}
    for line in reported(place):
        kind, _, rest = line.partition(" ")
        said[kind].append(rest if kind == "line" else int(rest))
    folder = place.path / "runs" / str(number)
    check_json(folder)
    assert len(leftovers(folder)) <= 1
    if said["line"]:
        (run,) = [run for run in load_runs(place.path / "runs") if run["_id"] == number]
        assert run["status"] == "DEAD" and "error" not in run
        values = run["metrics"].get("loss", {"values": []})["values"]
        assert values == list(range(len(values))) and len(values) > said["metrics"][-1]
        assert run["info"].get("i", -1) >= said["info"][-1]
        cout = folder / "cout.txt"
        wait_for(lambda: set(said["line"]) <= set(cout.read_text().splitlines()))


def test_kill_at_random_moments_loses_nothing_that_was_written(place, request):
    """One in four is killed while it starts; in half, both streams are one file."""
    place.write(STORM)
    rng = random.Random(os.getpid())
    for number in range(1, request.config.getoption("--storm") + 1):
        (place.path / "side").unlink(missing_ok=True)
        with open(place.path / "terminal", "wb") as terminal:
            process = place.start(
                "exp.py", "-b", "0.05", "-i", number, stdout=terminal,
                stderr=subprocess.DEVNULL if number % 2 else subprocess.STDOUT,
            )  # fmt: skip
        if number % 4:
            wait_for(lambda: reported(place))
            time.sleep(rng.random() * 0.4)
        else:
            time.sleep(rng.random() * 0.2)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        check_killed(place, number)


# -- interrupted -----------------------------------------------------------------------------


def check_interrupted(place, process, number, statuses=("INTERRUPTED",), folder="1"):
    out, err = process.communicate(timeout=30)
    assert process.returncode == -number, (process.returncode, err)
    assert "minisacred.py" not in err and "Traceback" not in err, err
    run = place.run(folder).run
    assert run["status"] in statuses and run["stop_time"]
    assert not leftovers(place.path / "runs")
    return out


@SIGNALS
@pytest.mark.parametrize(
    "wait",
    [
        "while True: pass",
        "time.sleep(60)",
        "ctypes.CDLL(None).sleep(60)",
        "ctypes.PyDLL(None).sleep(60)",
        "subprocess.run(['sleep', '60'])",
        "threading.Thread(target=time.sleep, args=(0.5,)).start(); time.sleep(60)",
        "asyncio.run(asyncio.sleep(60))",
    ],
)
def test_signal_ends_a_run_wherever_it_is(place, number, wait):
    place.write(
        f"""
        import asyncio, ctypes, subprocess, threading, time

        @ex.main
        def main():
            print("not flushed by anybody")
            print("ready", flush=True)
            ctypes.CDLL(None).printf(b"in the buffer of C\\n")
            {wait}
        """
    )
    process = place.start("exp.py", "-F", "runs", start_new_session=True)
    process.stdout.readline(), process.stdout.readline()
    time.sleep(0.1)
    os.killpg(process.pid, number)
    check_interrupted(place, process, number)
    cout = place.run().cout
    assert {"not flushed by anybody", "ready", "in the buffer of C"} <= set(cout.splitlines())


@SIGNALS
def test_signal_during_the_start_leaves_no_run_that_seems_to_go_on(place, number):
    """Whatever the moment: no run directory at all, or one with a final status."""
    place.write(
        "@ex.main\ndef main():\n    import time\n    time.sleep(60)\n",
        footer="\n\nprint('ready', flush=True)\nex.run_commandline()\n",
    )
    delays = [i * 0.015 for i in range(10)]
    for some in (delays[::2], delays[1::2]):
        processes = [place.start("exp.py", "-F", "runs") for _ in some]
        for process, delay in zip(processes, some):
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(number)
        for process in processes:
            _, err = process.communicate(timeout=30)
            assert process.returncode == -number, err
            assert "minisacred.py" not in err, err
    runs = list(load_runs(place.path / "runs")) if (place.path / "runs").exists() else []
    assert {run["status"] for run in runs} <= {"INTERRUPTED"}
    assert all(run["stop_time"] and "error" not in run for run in runs)


@SIGNALS
@pytest.mark.parametrize("event", ["heartbeat_event", "completed_event", "join"])
def test_signal_during_the_final_save_waits_for_it(place, number, event):
    place.write(
        f"""
        import os, time
        os.dup2(1, 9)

        class Slow(RunObserver):
            def {event}(self, **_):
                os.write(9, b"saving\\n")
                time.sleep(0.3)

        ex.observers += [Slow(), FileStorageObserver("runs")]

        @ex.main
        def main():
            print("the last words")
        """
    )
    process = place.start("exp.py")
    assert "saving\n" in iter(process.stdout.readline, "")
    process.send_signal(number)
    check_interrupted(place, process, number, ("COMPLETED", "INTERRUPTED"))
    assert "the last words" in place.run().cout


@SIGNALS
def test_signals_twice_in_a_row_end_a_run_as_one_does(place, number):
    """The second comes while the first is dealt with, in the experiment or in minisacred."""
    place.write(
        """
        import time

        @ex.main
        def main():
            try:
                print("ready", flush=True)
                time.sleep(60)
            finally:
                print("cleaned up")
        """
    )
    gaps = [0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.08]
    for run_id, gap in enumerate(gaps, 1):
        process = place.start("exp.py", "-F", "runs")
        process.stdout.readline()
        process.send_signal(number)
        time.sleep(gap)
        process.send_signal(number)
        check_interrupted(place, process, number, folder=str(run_id))
        assert "cleaned up\n" in place.run(str(run_id)).cout


@SIGNALS
def test_signal_during_the_clean_up_at_exit_does_not_cut_it_short(place, number):
    place.write(
        """
        import atexit, time

        def clean_up():
            print("cleaning", flush=True)
            time.sleep(0.2)
            print("cleaned up")

        @ex.main
        def main():
            atexit.register(clean_up)
            print("ready", flush=True)
            time.sleep(60)
        """
    )
    process = place.start("exp.py", "-F", "runs")
    process.stdout.readline()
    process.send_signal(number)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(number)
    assert check_interrupted(place, process, number) == "cleaned up\n"


def test_signal_after_the_main_function_failed_still_ends_the_process(place):
    place.write(
        """
        import os, time
        os.dup2(1, 9)

        class Slow(RunObserver):
            def failed_event(self, **_):
                os.write(9, b"saving\\n")
                time.sleep(0.3)

        ex.observers += [Slow(), FileStorageObserver("runs")]

        @ex.main
        def main():
            raise ValueError("oops")
        """
    )
    process = place.start("exp.py")
    assert "saving\n" in iter(process.stdout.readline, "")
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert place.run().run["status"] == "FAILED" and "minisacred.py" not in err
    assert process.returncode in (1, -signal.SIGTERM)


@pytest.mark.parametrize("kind", ["process", "pool", "fork"])
def test_child_that_is_terminated_dies_of_the_signal(place, kind):
    """A fork has the run's signal handlers, but not the run."""
    done = place(
        """
        import multiprocessing, os, signal, time
        context = multiprocessing.get_context("fork")

        def process():
            child = context.Process(target=time.sleep, args=(60,))
            child.start()
            time.sleep(0.2)
            child.terminate()
            child.join()
            return child.exitcode

        def pool():
            with context.Pool(2) as workers:  # terminates its workers at the end
                workers.map(abs, range(4))
                children = workers._pool
            [child.join() for child in children]
            return max(child.exitcode for child in children)

        def fork():
            child = os.fork()
            if not child:
                time.sleep(60)
            time.sleep(0.2)
            os.kill(child, signal.SIGTERM)
            return -os.WTERMSIG(os.waitpid(child, 0)[1])

        @ex.main
        def main():
            return KIND()
        """.replace("KIND", kind),
        "-F", "runs",
    )  # fmt: skip
    assert "minisacred.py" not in done.err and "Traceback" not in done.err, done.err
    assert done.run().run["status"] == "COMPLETED"
    # A worker of a pool may have ended by itself just before.
    assert done.run().run["result"] in ([0, -15] if kind == "pool" else [-15])


@LINUX
def test_child_that_is_terminated_as_soon_as_it_is_forked_dies_of_the_signal(place):
    done = place(
        """
        import os, signal, time

        @ex.main
        def main():
            deaths = set()
            for _ in range(300):
                child = os.fork()
                if not child:
                    time.sleep(20)
                    os._exit(7)
                os.kill(child, signal.SIGTERM)
                deaths.add(os.waitpid(child, 0)[1])
            return sorted(deaths), [signal.pthread_sigmask(signal.SIG_BLOCK, [])]
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.run().run["result"] == [[signal.SIGTERM], [[]]]


@LINUX
@SIGNALS
def test_signal_ends_a_run_that_forks_all_the_time(place, number):
    place.write(
        """
        import itertools, os

        @ex.main
        def main():
            for count in itertools.count():
                os.waitpid(os.fork() or os._exit(0), 0)
                if count == 3:  # Python 3.12 warns of the first, and ignores exceptions meanwhile
                    print("ready", flush=True)
        """
    )
    for folder in map(str, range(1, 7)):
        process = place.start("exp.py", "-F", "runs")
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        check_interrupted(place, process, number, folder=folder)


# -- many at once ----------------------------------------------------------------------------


@pytest.mark.parametrize("count, existing", [(48, 0), (16, 20_000)])
def test_many_starts_at_once_get_distinct_ids(place, count, existing):
    runs = place.path / "runs"
    for number in range(1, existing + 1):
        os.makedirs(runs / str(number))
    place.write(QUIET)
    with open(place.path / "output", "wb") as output:
        processes = [
            place.start("exp.py", "-F", "runs", stdout=output, stderr=output) for _ in range(count)
        ]
    assert [process.wait(timeout=100) for process in processes] == [0] * count
    names = {name for name in os.listdir(runs) if name.isdecimal()}
    assert names == {str(number) for number in range(1, existing + count + 1)}
    for number in range(existing + 1, existing + count + 1):
        files = place.run(str(number))
        assert files.run["status"] == "COMPLETED" and files.run["result"] == 5
        assert "hello\n" in files.cout and files.config and files.metrics == files.info == {}
    assert not leftovers(runs)


def test_many_starts_with_one_given_id_make_one_run(place):
    place.write(QUIET)
    processes = [place.start("exp.py", "-F", "runs", "-i", "same") for _ in range(8)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0] + [1] * 7
    assert sum("run 'same' exists in " in error for error in errors) == 7
    assert [run["_id"] for run in complete_runs(place.path / "runs")] == ["same"]


# -- changed while saved ---------------------------------------------------------------------


def test_info_and_metrics_of_many_threads_are_exact_in_the_end(place):
    done = place(
        """
        import threading

        class Reads(RunObserver):
            def heartbeat_event(self, info, captured_out, **_):
                repr(info), len(captured_out)

        ex.observers.append(Reads())

        @ex.main
        def main(_run):
            def work(i):
                mine = _run.info[f"thread {i}"] = {"list": [], "tree": {}}
                for n in range(800):
                    mine["list"].append(n)
                    mine["list"].insert(0, mine["list"].pop())
                    mine["tree"].setdefault(n % 13, {})[str(n)] = [n] * (n % 5)
                    mine["tree"][n % 13].pop(str(n - 26), None)
                    _run.info[f"{i} {n % 50}"] = n
                    _run.info.pop(f"{i} {(n - 7) % 50}", None)
                    _run.log_scalar("shared", n)
                    _run.log_scalar(f"own {i}", n, step=2 * n)
            threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
            [t.start() for t in threads]
            [t.join() for t in threads]
            return _run.info
        """,
        "-F", "runs", "-b", "0.005",
    )  # fmt: skip
    assert done.code == 0 and "failed" not in done.err and "Exception" not in done.err, done.err
    files = done.run()
    assert files.info == files.run["result"]
    assert files.info["thread 5"]["list"] == list(range(799, -1, -1))
    assert files.metrics["shared"]["steps"] == list(range(4800))
    assert sorted(files.metrics["shared"]["values"]) == sorted(list(range(800)) * 6)
    for i in range(6):
        assert files.metrics[f"own {i}"]["values"] == list(range(800))
        assert files.metrics[f"own {i}"]["steps"] == list(range(0, 1600, 2))
    assert len(files.lines) == 9600


# -- no room, no directory -------------------------------------------------------------------


def check_refused(done):
    assert done.code == 1 and "hello" not in done.out
    (line,) = [line for line in done.err.splitlines() if "error" in line]
    assert line.startswith("exp.py: error: cannot record the run in ")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("free", range(0, 20, 4))
def test_disk_full_at_the_start_refuses_the_run(place, free):
    """With room for some of the files, too: nothing is left of the run."""
    with small_disk(place.path / "runs", "64k") as runs:
        (runs / "fill").write_bytes(bytes((1 << 16) - free * 1024 - 4096))
        done = place(QUIET, "-F", "runs")
        if done.code:
            check_refused(done)
            assert not (runs / "1").exists() and not leftovers(runs)
        assert done.code == (1 if free < 16 else 0)


def test_file_size_limit_at_the_start_refuses_the_run(place):
    """A full disk that needs no rights: no file may have more than some bytes."""
    done = place(
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n" + QUIET,
        "-F", "runs",
    )  # fmt: skip
    check_refused(done)
    assert not (place.path / "runs" / "1").exists()


WORK = """
def work(_run, until):
    '''Do what experiments do, for some heartbeats.'''
    start = _run.info.get("i", -1) + 1
    for i in range(start, until):
        print("line", i, "." * 50)
        _run.log_scalar("loss", i)
        _run.info["i"] = i
        _run.info["big"] = "x" * 100_000
        time.sleep(0.001)
    time.sleep(0.15)
"""


@LINUX
def test_no_room_for_a_while_during_the_run_costs_nothing(place):
    """The limit binds the run's process and the one that copies the output."""
    done = place(
        WORK
        + COPIERS
        + """
import os, resource, time

def limit(size):
    assert copiers()
    for pid in [os.getpid(), *copiers()]:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

@ex.main
def main(_run):
    work(_run, 100)
    limit(3000)
    work(_run, 500)
    limit(resource.RLIM_INFINITY)
    work(_run, 600)
    return "done"
""",
        "-F", "runs", "-b", "0.02",
    )  # fmt: skip
    assert done.code == 0 and "Traceback" not in done.err, done.err
    assert "failed, and is tried again" in done.err and "works again" in done.err
    (run,) = complete_runs(place.path / "runs")
    assert run["metrics"]["loss"]["values"] == list(range(600)) and run["info"]["i"] == 599
    lines = [line for line in done.run().cout.splitlines() if line.startswith("line")]
    assert [line.split()[1] for line in lines] == [str(i) for i in range(600)]


def test_disk_full_for_a_while_during_the_run_costs_nothing(place):
    with small_disk(place.path / "runs", "1m"):
        done = place(
            WORK
            + """
import os, time

@ex.main
def main(_run):
    work(_run, 100)
    with open("runs/fill", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    work(_run, 400)
    os.unlink("runs/fill")
    work(_run, 500)
    return "done"
""",
            "-F", "runs", "-b", "0.02",
        )  # fmt: skip
        assert done.code == 0 and "Traceback" not in done.err, done.err
        assert "No space left" in done.err and "works again" in done.err
        (run,) = complete_runs(place.path / "runs")
        assert run["result"] == "done" and run["info"]["i"] == 499
        assert run["metrics"]["loss"]["values"] == list(range(500))
        lines = [line for line in done.run().cout.splitlines() if line.startswith("line")]
        assert [line.split()[1] for line in lines] == [str(i) for i in range(500)]


def test_disk_full_at_the_end_is_said_and_leaves_whole_files(place):
    with small_disk(place.path / "runs", "1m"):
        done = place(
            """
            import time

            @ex.main
            def main(_run):
                _run.log_scalar("loss", 1)
                time.sleep(0.2)
                with open("runs/fill", "wb", buffering=0) as file:
                    try:
                        while file.write(bytes(4096)):
                            pass
                    except OSError:
                        pass
                for i in range(1000):
                    _run.log_scalar("loss", i)
                    print("a line that finds no room", i)
                return "x" * 10_000
            """,
            "-F", "runs", "-b", "0.05",
        )  # fmt: skip
        assert done.code == 0 and "Traceback" not in done.err, done.err
        assert "the record of FileStorageObserver" in done.err
        assert "completed_event" in done.err and "log_metrics" in done.err
        assert "bytes of the output could not be stored in" in done.err
        assert "no room 999" in done.out
        check_json(place.path / "runs" / "1")
        assert not leftovers(place.path / "runs")
        (run,) = load_runs(place.path / "runs")
        assert run["status"] == "DEAD" and run["metrics"]["loss"]["values"] == [1]


def test_output_that_never_finds_room_is_counted(place):
    """What is given up has no end, and needs no memory."""
    done = place(
        """
        import os, shutil

        @ex.main
        def main(_run):
            os.unlink(os.path.join(_run.dir, "cout.txt"))
            os.mkdir(os.path.join(_run.dir, "cout.txt"))
            for _ in range(64):
                os.write(1, bytes(1 << 20))
        """,
        "-F", "runs", stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.code == 0
    (line,) = [line for line in done.err.splitlines() if "could not be stored" in line]
    assert 64 << 20 <= int(line.split(" - ")[-1].split()[0]) < (64 << 20) + 1000


def test_full_terminal_does_not_reach_the_experiment_or_the_record(place):
    with open("/dev/full", "wb") as full:
        done = place(
            "import os\n\n@ex.main\ndef main():\n"
            "    for i in range(1000):\n        print('line', i, flush=True)\n",
            "-F", "runs", stdout=full,
        )  # fmt: skip
    assert done.code == 0 and done.run().run["status"] == "COMPLETED", done.err
    assert done.run().cout.count("line") == 1000


@pytest.mark.parametrize("what", ["_run.dir", "os.path.dirname(_run.dir)"])
def test_removed_directory_is_made_again(place, what):
    done = place(
        WORK
        + f"""
import os, shutil, time

@ex.main
def main(_run):
    work(_run, 100)
    os.rename({what}, "aside")  # at once, whatever is being written
    shutil.rmtree("aside")
    work(_run, 200)
    print("the last words")
    return "done"
""",
        "-F", "runs", "-b", "0.02",
    )  # fmt: skip
    assert done.code == 0 and "Traceback" not in done.err, done.err
    files = done.run()
    assert files.run["status"] == "COMPLETED" and files.run["result"] == "done"
    assert files.info["i"] == 199 and "the last words\n" in files.cout
    assert files.metrics["loss"]["values"][-1] == 199
    assert not leftovers(place.path / "runs")


def test_removed_directory_gets_all_back_that_the_run_still_knows(place):
    """The output and artifacts that were in it are lost, and the log says so."""
    done = place(
        """
        import os, shutil, time
        ex.add_config(lr=0.1)

        @ex.main
        def main(lr, _run):
            _run.info["early"] = 1
            _run.log_scalar("loss", 0.5)
            time.sleep(0.1)
            os.rename(_run.dir, "aside")
            shutil.rmtree("aside")
            time.sleep(0.1)
        """,
        "-F", "runs", "-b", "0.02",
    )  # fmt: skip
    assert done.code == 0
    (run,) = complete_runs(place.path / "runs")
    assert run["config"]["lr"] == 0.1 and run["info"] == {"early": 1}
    assert run["metrics"]["loss"]["values"] == [0.5]
    assert str(place.path / "runs" / "1") in done.err


REPLACED = (
    WORK
    + """
import os, shutil, subprocess, time

def occupy(path):
    while not os.path.isfile(path):
        try:
            open(path, "w").close()
        except IsADirectoryError:  # made again just now
            shutil.rmtree(path, ignore_errors=True)

def lock(path):
    HOW

def unlock(path):
    UNDO

@ex.main
def main(_run):
    work(_run, 100)
    lock(_run.dir)
    work(_run, 200)
    if AGAIN:
        unlock(_run.dir)
    work(_run, 300)
    return "done"
"""
)

LOCKS = {
    "replaced by a file": (
        "os.rename(path, 'aside'); occupy(path)",
        "os.unlink(path); os.rename('aside', path)",
    ),
    "mounted read-only": (
        "subprocess.run(['mount', '--bind', '-o', 'ro', path, path], check=True)",
        "subprocess.run(['umount', path], check=True)",
    ),
    "immutable": (
        "subprocess.run(['chattr', '+i', path, *(os.path.join(path, n) for n in os.listdir(path)"
        " if not n.startswith('.'))], check=True)",
        "subprocess.run(['chattr', '-R', '-i', path], check=True)",
    ),
    "without write permission": ("os.chmod(path, 0o555)", "os.chmod(path, 0o755)"),
}


def run_locked(place, lock, again):
    if lock == "without write permission" and os.geteuid() == 0:
        pytest.skip("permissions do not bind root")
    if lock in ("mounted read-only", "immutable"):
        if os.geteuid() != 0:
            pytest.skip(f"a directory that is {lock} needs root")
        lock_line, undo = (part.replace("path", "'probe'") for part in LOCKS[lock])
        (place.path / "probe").mkdir()
        for line in (lock_line, undo):
            code = f"import os, subprocess\n{line}"
            if place.python("-c", code).code:
                pytest.skip(f"this system lets no directory be {lock}")
    how, undo = LOCKS[lock]
    source = REPLACED.replace("HOW", how).replace("UNDO", undo).replace("AGAIN", str(again))
    try:
        return place(source, "-F", "runs", "-b", "0.02")
    finally:
        run = str(place.path / "runs" / "1")
        for command in (["umount", run], ["chattr", "-R", "-i", run]):
            if os.geteuid() == 0:
                subprocess.run(command, capture_output=True)


@pytest.mark.parametrize("lock", LOCKS)
def test_unwritable_directory_during_the_run_costs_nothing_when_it_is_back(place, lock):
    done = run_locked(place, lock, again=True)
    assert done.code == 0 and "Traceback" not in done.err, done.err
    assert done.err.count("failed, and is tried again") == done.err.count("works again") == 1
    (run,) = complete_runs(place.path / "runs")
    assert run["result"] == "done" and run["info"]["i"] == 299
    assert run["metrics"]["loss"]["values"] == list(range(300))
    lines = [line for line in done.run().cout.splitlines() if line.startswith("line")]
    assert [line.split()[1] for line in lines] == [str(i) for i in range(300)]


@pytest.mark.parametrize("lock", LOCKS)
def test_unwritable_directory_at_the_end_is_said(place, lock):
    done = run_locked(place, lock, again=False)
    assert done.code == 0 and "Traceback" not in done.err, done.err
    assert done.err.count("failed, and is tried again") == 1
    assert "is incomplete: it lacks completed_event, log_metrics" in done.err
    assert done.out.count("line") == 300


# -- observers that fail ---------------------------------------------------------------------

OBSERVER = (
    REPORT
    + """
import asyncio, time

class Bad(RunObserver):
    priority = PRIORITY
    is_bad = True

    def started_event(self, **_):
        FAIL("start")

    def heartbeat_event(self, info, **_):
        report(f"beat {self.is_bad}")
        FAIL("beat")
        self.info = dict(info)

    def log_metrics(self, metrics_by_name, info):
        FAIL("metrics")
        report("metrics " + repr(metrics_by_name["loss"]["values"])[1:-1].replace(" ", ""))

    def completed_event(self, result, **_):
        FAIL("end")
        report(f"completed {result} {self.info}")

    def join(self):
        FAIL("join")

bad = Bad()
ex.observers += [bad, FileStorageObserver("runs")]

def FAIL(moment):
    if bad.is_bad and moment in MOMENTS:
        raise ERROR

@ex.main
def main(_run):
    report("main")
    for i in range(10):
        _run.log_scalar("loss", i)
        _run.info["i"] = i
        time.sleep(0.02)
        if i == 6:
            bad.is_bad = ALWAYS
    return 5
"""
)

ERRORS = pytest.mark.parametrize(
    "error",
    [
        "OSError('no')",
        "SystemExit(3)",
        "KeyboardInterrupt",
        "asyncio.CancelledError",
        "Unprintable",
    ],
)


def run_observed(place, moments, error, always=False, priority=50):
    values = {"PRIORITY": priority, "MOMENTS": moments, "ERROR": error, "ALWAYS": always}
    source = OBSERVER
    for name, value in values.items():
        source = source.replace(name, value if name == "ERROR" else repr(value))
    unprintable = (
        "class Unprintable(Exception):\n    def __str__(self):\n        raise ValueError\n"
        "    __repr__ = __str__\n"
    )
    return place(unprintable + source, "-b", "0.02")


@ERRORS
def test_observer_that_raises_at_the_start_stops_the_run_before_main(place, error):
    """Those which have begun already learn that the run has failed."""
    done = run_observed(place, ["start"], error, priority=0)
    assert done.code != 0 and reported(place) == []
    assert "minisacred.py" not in done.err, done.err
    (run,) = load_runs(place.path / "runs")
    assert run["status"] == ("INTERRUPTED" if error == "KeyboardInterrupt" else "FAILED")
    assert run["stop_time"] and "error" not in run


@ERRORS
def test_observer_that_raises_for_a_while_gets_everything_later(place, error):
    done = run_observed(place, ["beat", "metrics"], error)
    assert done.code == 0, done.err
    assert done.err.count("failed, and is tried again") == done.err.count("works again") == 1
    lines = reported(place)
    assert lines.count("beat True") > 1 and lines[-1] == "completed 5 {'i': 9}"
    metrics = ",".join(line.split()[1] for line in lines if line.startswith("metrics"))
    assert metrics == "0,1,2,3,4,5,6,7,8,9"
    complete_runs(place.path / "runs")


@pytest.mark.parametrize(
    "moments, error",
    [
        (["beat", "metrics", "end", "join"], "OSError('no')"),
        (["beat", "metrics", "end", "join"], "asyncio.CancelledError"),
        (["end"], "Unprintable"),
        (["join"], "SystemExit(3)"),
    ],
)
def test_observer_that_always_raises_harms_nobody(place, moments, error):
    done = run_observed(place, moments, error, always=True)
    assert done.code == 0 and "Traceback" not in done.err, done.err
    assert done.err.count("failed, and is tried again") == 1
    assert ("is incomplete: it lacks completed_event" in done.err) == ("end" in moments)
    (run,) = complete_runs(place.path / "runs")
    assert run["metrics"]["loss"]["values"] == list(range(10)) and run["info"] == {"i": 9}


@pytest.mark.parametrize("event", ["heartbeat_event", "log_metrics"])
def test_observer_that_hangs_is_not_waited_for(place, event):
    """It would hang for 60 s; 30 are a generous bound for what may take 2."""
    start = time.monotonic()
    done = place(
        f"""
        import time

        SETTINGS.OBSERVER_TIMEOUT = 0.5

        class Hangs(RunObserver):
            def {event}(self, **_):
                time.sleep(60)

        ex.observers.append(Hangs())

        @ex.main
        def main(_run):
            for i in range(10):
                _run.log_scalar("loss", i)
                time.sleep(0.02)
            _run.add_artifact(__file__)
        """,
        "-F", "runs", "-b", "0.02",
    )  # fmt: skip
    assert done.code == 0 and time.monotonic() - start < 30
    assert "has not answered for 0.5 s" in done.err
    (run,) = complete_runs(place.path / "runs")
    assert run["metrics"]["loss"]["values"] == list(range(10)) and run["artifacts"] == ["exp.py"]


# -- output ----------------------------------------------------------------------------------


@LINUX
@pytest.mark.parametrize(
    "write",
    [
        "subprocess.run(['head', '-c', str(size), '/dev/zero'])",
        "[ctypes.PyDLL(None).write(1, block, len(block)) for _ in range(size >> 20)]",
        "[ctypes.CDLL(None).puts(line) for _ in range(size >> 10)]",
    ],
    ids=["child", "holding the GIL", "buffered in C"],
)
def test_much_output_takes_no_memory_in_the_run_or_its_helper(place, write):
    done = place(
        COPIERS + textwrap.dedent(f"""
        import ctypes, os, re, subprocess, sys
        size = 96 << 20
        block, line = bytes(1 << 20), b"x" * 1023

        def peaks():
            '''Peak memory in KiB, of this process and its copier, by process.'''
            found = {{}}
            for pid in ["self", *copiers()]:
                status = open(f"/proc/{{pid}}/status").read()
                found[pid] = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])
            return found

        @ex.main
        def main():
            before = peaks()
            assert len(before) == 2, before
            {write}
            after = peaks()
            grown = [after[pid] - before[pid] for pid in before]
            return max(grown)
        """),
        "-F", "runs", stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.run().run["result"] < 20 * 1024
    assert (done.run().path / "cout.txt").stat().st_size >= 96 << 20


def test_child_that_keeps_the_output_open_does_not_hold_up_the_end(place):
    """It goes on until the run has ended; what it then prints is recorded still."""
    place.write(
        """
        import subprocess

        @ex.main
        def main():
            wait = "for i in $(seq 600); do [ -e ended ] && break; sleep 0.05; done"
            subprocess.Popen(["sh", "-c", f"{wait}; echo late; echo later >&2"])
            print("hello")
        """
    )
    with open(place.path / "terminal", "wb") as terminal:
        process = place.start("exp.py", "-F", "runs", stdout=terminal, stderr=terminal)
        assert process.wait(timeout=20) == 0
    assert "late" not in place.run().cout
    (run,) = complete_runs(place.path / "runs")
    (place.path / "ended").touch()
    for path in (place.path / "runs/1/cout.txt", place.path / "terminal"):
        wait_for(lambda: {"late", "later"} <= set(path.read_text().splitlines()))
    assert strict((place.path / "runs/1/run.json").read_text())["stop_time"] == run["stop_time"]


@pytest.mark.parametrize(
    "body",
    [
        "[os.waitpid(os.fork() or (say(), os._exit(0)), 0) for _ in range(5)]",
        "[os.waitpid(os.fork() or sys.exit(say()), 0) for _ in range(5)]",
        "[(p.start(), p.join()) for p in [fork.Process(target=say) for _ in range(5)]]",
        "[(p.start(), p.join()) for p in [spawn.Process(target=say) for _ in range(5)]]",
        "pool = fork.Pool(3); pool.map(say, range(5), chunksize=1); pool.close(); pool.join()",
        "[(t.start(), t.join()) for t in [threading.Thread(target=say) for _ in range(5)]]",
        "threading.Thread(target=lambda: [time.sleep(0.1), *map(say, range(5))]).start(); "
        "time.sleep(0.3)",
        "[subprocess.Popen(['echo', 'child']).wait() for _ in range(5)]",
        "[os.system('echo child') for _ in range(5)]",
    ],
)
def test_output_of_forks_processes_and_threads_is_whole(place, body):
    done = place(
        f"""
        import multiprocessing, os, subprocess, sys, threading, time
        fork, spawn = map(multiprocessing.get_context, ("fork", "spawn"))

        def say(*_):
            print("child", flush=True)

        @ex.main
        def main():
            print("before", flush=True)
            {body}
            print("after")
            return "parent"
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.code == 0, done.err
    for text in (done.out, done.run().cout):
        lines = [line for line in text.splitlines() if line in ("before", "child", "after")]
        assert lines == ["before", *["child"] * 5, "after"]
    assert done.run().run["result"] == "parent" and done.run().run["status"] == "COMPLETED"


def test_threads_that_print_at_once_lose_nothing(place):
    done = place(
        """
        import os, threading

        def work(i):
            for n in range(2000):
                os.write(1 + n % 2, b"%d %d\\n" % (i, n))

        @ex.main
        def main():
            threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
            [t.start() for t in threads]
            [t.join() for t in threads]
        """,
        "-F", "runs",
    )  # fmt: skip
    lines = [line for line in done.run().cout.splitlines() if " - exp - " not in line]
    assert sorted(lines) == sorted(f"{i} {n}" for i in range(8) for n in range(2000))
    for i in range(8):
        mine = [int(line.split()[1]) for line in lines if line.startswith(f"{i} ")]
        assert mine[0] in (0, 1) and [n for n in mine if n % 2] == list(range(1, 2000, 2))


@pytest.mark.parametrize(
    "mode, replace",
    [
        ("fd", "sys.stdout = io.StringIO()"),
        ("fd", "sys.stdout = None"),
        ("fd", "sys.stdout = sys.stderr = open(os.devnull, 'w')"),
        ("fd", "sys.stdout.close()"),
        ("sys", "sys.stdout.close()"),
        ("fd", "sys.stdout.detach()"),
        ("fd", "sys.stdout = Odd()"),
        ("sys", "sys.stdout = Odd()"),
        ("fd", "os.close(1)"),
        ("fd", "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)"),
        ("fd", "os.closerange(3, 256)"),
        ("sys", "os.closerange(3, 256)"),
    ],
)
def test_main_that_takes_the_streams_away_is_recorded(place, mode, replace):
    done = place(
        f"""
        import io, os, sys

        class Odd:
            def write(self, text):
                raise ValueError("no")
            def flush(self):
                raise ValueError("no")

        @ex.main
        def main():
            print("first", flush=True)
            {replace}
            return 5
        """,
        "-F", "runs", "-C", mode,
    )  # fmt: skip
    assert done.code in (0, 120), done.err
    assert done.run().run["status"] == "COMPLETED" and done.run().run["result"] == 5
    assert "first\n" in done.run().cout


def test_invalid_utf8_is_no_error_anywhere(place):
    done = place(
        """
        import os, time

        class Reads(RunObserver):
            def heartbeat_event(self, captured_out, **_):
                captured_out.encode()

        ex.observers.append(Reads())
        ex.captured_out_filter = lambda text: text + "filtered"

        @ex.main
        def main():
            for i in range(256):
                os.write(1, bytes([i, 10, 0xF0, 0x9F]))
            time.sleep(0.05)
        """,
        "-F", "runs", "-b", "0.01", stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.code == 0 and "failed" not in done.err, done.err
    assert "\ufffd" in done.run().cout and done.run().cout.endswith("filtered")


# -- many runs -------------------------------------------------------------------------------


@LINUX
def test_500_runs_in_one_process_leave_nothing_behind(place):
    temporary = place.path / "tmp"
    temporary.mkdir()
    done = place(
        COPIERS
        + """
import gc, glob, logging, os, tempfile, threading, time
logging.getLogger("exp").setLevel("ERROR")

@ex.main
def main(_run):
    print("x")
    _run.log_scalar("loss", 1)
    if _run._id and int(_run._id) % 10 == 0:
        raise ValueError

def state():
    gc.collect()
    children = []
    for tasks in glob.glob("/proc/self/task/*/children"):
        try:  # a thread that was joined may stay in this list for a moment
            children += open(tasks).read().split()
        except OSError:
            pass
    deadline = time.monotonic() + 5
    while copiers() and time.monotonic() < deadline:
        time.sleep(0.01)
    return (len(os.listdir("/proc/self/fd")), threading.active_count(), children, copiers(),
            os.listdir(tempfile.gettempdir()), len(logging.root.handlers))

before = state()
ex.observers.append(FileStorageObserver("runs"))
for i in range(500):
    try:
        ex.run()
    except ValueError:
        pass
after = state()
assert after == before, (before, after)
""",
        script={"footer": ""}, timeout=120, env={"TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.code == 0, done.err
    runs = list(load_runs(place.path / "runs"))
    assert [run["status"] for run in runs] == (["COMPLETED"] * 9 + ["FAILED"]) * 50
    assert not leftovers(place.path / "runs")


# -- strange values --------------------------------------------------------------------------

STRANGE = """
import fractions, threading

class Raises:
    def __init__(self, error):
        self.error = error
    def __repr__(self):
        raise self.error
    __str__ = __eq__ = __len__ = __iter__ = __bool__ = __repr__

class NoText:
    def __repr__(self):
        return 5

class BadDict(dict):
    def items(self):
        raise ValueError("no items")

class BadStr(str):
    def __str__(self):
        raise ValueError("no text")

cycle = []
cycle.append({"cycle": cycle})
deep = []
for _ in range(100_000):
    deep = [deep]
wide = {i: {j: [None] * 5 for j in range(30)} for i in range(30)}
NAN = float("nan")
"""

VALUES = [
    "NAN", "{NAN: [NAN, -1e999]}", "cycle", "{'c': cycle, 'd': [cycle]}", "deep", "{'deep': deep}",
    "object()", "[object, len, print, lambda: 0]", "10**5000", "-10**100000", "{10**5000: 10**400}",
    "wide", "Raises(ValueError('no'))", "[Raises(RecursionError())]", "Raises(SystemExit(3))",
    "{'k': Raises(KeyboardInterrupt())}", "{Raises: Raises(GeneratorExit())}", "NoText()",
    "BadDict(a=1)", "BadStr('x')", "'\\ud800 lone'", "{'\\ud800': '\\x00\\x1f\\u2028'}",
    "b'\\xff'", "{1: 'a', '1': 'b', 1.0: 'c', True: 'd', None: 'e'}", "{(1, 2): {3}, frozenset(): 1}",
    "{1, 'a', None, (1,)}", "fractions.Fraction(1, 3)", "1j", "(i for i in range(3))",
    "threading.Lock()", "memoryview(b'x')", "range(5)", "...", "NotImplemented", "type('X', (), {})",
    "ValueError('x')", "'x' * 10**6", "[[]] * 1000", "{'': {'': ''}}", "{'a.b': 1, '$c': 2, 'd=e': 3}",
]  # fmt: skip


@pytest.mark.parametrize("start", range(0, len(VALUES), 8))
def test_strange_values_are_recorded_as_strict_json(place, start):
    values = VALUES[start : start + 8]
    commands = "".join(
        f"""
@ex.command
def command_{number}(_run):
    value = {value}
    _run.info["before"] = 1
    _run.info["value"] = value
    _run.info["after"] = 2
    return value
"""
        for number, value in enumerate(values)
    )
    done = place(
        STRANGE
        + commands
        + f"""
if __name__ == "__main__":
    ex.observers.append(FileStorageObserver("runs"))
    for number in range({len(values)}):
        ex.run(f"command_{{number}}", options={{"beat_interval": 0.01}})
""",
        script={"footer": ""},
    )
    assert done.code == 0 and "Traceback" not in done.err, done.err[-3000:]
    runs = complete_runs(place.path / "runs")
    assert len(runs) == len(values)
    for run in runs:
        assert set(run["info"]) == {"before", "value", "after"} and run["result"] is not None


@pytest.mark.parametrize(
    "value",
    ["cycle", "deep", "object()", "Raises(ValueError('no'))", "{1, 2}", "b'x'", "1j", "{'c': cycle}",
     "{'a': [Raises(SystemExit(3))]}"],
)  # fmt: skip
def test_strange_values_in_the_configuration_are_refused_in_one_line(ex, value):
    space = {}
    exec(STRANGE, space)
    ex.main(lambda: None)
    with pytest.raises(minisacred.ConfigError, match="^entry") as caught:
        ex.run(config_updates={"entry": eval(value, space)})
    assert "\n" not in str(caught.value)


def test_strange_values_of_a_scope_do_not_cost_the_run(place):
    names = "".join(f"    v{i} = {value}\n" for i, value in enumerate(VALUES))
    done = place(
        STRANGE + f"\n@ex.config\ndef config():\n    good = 1\n{names}\n{QUIET}", "-F", "runs"
    )
    assert done.code in (0, 1) and "Traceback" not in done.err, done.err[-3000:]
    if done.code == 0:
        (run,) = complete_runs(place.path / "runs")
        assert run["config"]["good"] == 1


FAILURES = [
    "ValueError", "NoStr()", "NoRepr()", "NoStr('x', NoRepr())", "OwnBase('x')", "GeneratorExit",
    "SystemExit", "SystemExit(0)", "SystemExit(7)", "SystemExit('text')", "SystemExit(NoRepr())",
    "SystemExit(2**80)", "SystemExit([1])", "SystemExit(True)", "StopIteration(5)",
    "StopAsyncIteration", "MemoryError", "RecursionError", "SyntaxError('x', ('f', 1, 2, 'text'))",
    "SyntaxError('x', (None, None, None, None))", "UnicodeDecodeError('a', b'x', 0, 1, 'r')",
    "asyncio.CancelledError", "ValueError('\\ud800')", "ValueError('x' * 10**6)", "ValueError('\\0')",
    "KeyError(NoRepr())", "looped()", "endless()",
]  # fmt: skip
GROUPS = [
    "ExceptionGroup('g', [ValueError('a'), ExceptionGroup('h', [NoStr()])])",
    "BaseExceptionGroup('g', [SystemExit(3), KeyboardInterrupt()])",
    "nested_group(300)",
]


EXCEPTIONS = """
import asyncio

class NoStr(Exception):
    def __str__(self):
        raise ValueError("no text")

class NoRepr(Exception):
    def __repr__(self):
        raise ValueError("no text")
    __str__ = __repr__

class OwnBase(BaseException):
    pass

def looped():
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    return a

def endless():
    return endless()

def nested_group(depth):
    group = ValueError("inside")
    for _ in range(depth):
        group = ExceptionGroup("g", [group])
    return group
"""


def check_failed(run):
    assert run["status"] == "FAILED" and run["stop_time"] and run["fail_trace"]
    assert "minisacred.py" not in "".join(run["fail_trace"])


def test_exceptions_of_every_kind_are_recorded(place):
    errors = FAILURES + GROUPS * (sys.version_info >= (3, 11))
    done = place(
        EXCEPTIONS
        + f"""
errors = {errors!r}

@ex.command
def fails(_run, i):
    print("hello")
    raise eval(errors[i])

if __name__ == "__main__":
    ex.observers.append(FileStorageObserver("runs"))
    for i in range(len(errors)):
        try:
            ex.run("fails", config_updates={{"i": i}})
        except BaseException as error:
            caught = error
        assert type(caught).__name__ in errors[i] + "ValueError ExceptionGroup RecursionError"
""",
        script={"footer": ""},
    )
    assert done.code == 0, done.err[-3000:]
    check_json(place.path / "runs")
    runs = list(load_runs(place.path / "runs"))
    assert len(runs) == len(errors)
    for run in runs:
        if errors[run["config"]["i"]] in ("SystemExit", "SystemExit(0)"):
            assert run["status"] == "COMPLETED"
        else:
            check_failed(run)
        assert "hello" in place.run(str(run["_id"])).cout


@pytest.mark.parametrize(
    "error", ["NoStr()", "NoRepr(NoRepr())", "OwnBase()", "SystemExit(NoRepr())", "endless()",
              *GROUPS * (sys.version_info >= (3, 11))],
)  # fmt: skip
def test_exception_that_is_hard_to_print_ends_a_command_line_with_1(place, error):
    done = place(EXCEPTIONS + f"\n@ex.main\ndef main():\n    raise {error}\n", "-F", "runs")
    assert done.code == 1 and "minisacred.py" not in done.err, done.err[-3000:]
    (run,) = load_runs(place.path / "runs")
    check_failed(run)


# -- names -----------------------------------------------------------------------------------

NAMES = [
    "..", ".", "", "/", "a/..", "../x", "../../x", "a/../../x", "/tmp/x", "//x", "a//b", "x/",
    "x\0y", "x\ny", "x\x1b[2J", "\x7f", "\\..\\x", "..\\x", "C:x", "run.json", "RUN.JSON",
    "config.json", "cout.txt", "info.json", "metrics.json", "metrics.jsonl", "git.diff",
    "run.json/x", "./run.json", ".run.json.1.tmp", "x" * 300, "\u20ac" * 100, "x" * 300 + "/y",
    "link/x", "link",
]  # fmt: skip
GOOD = [
    "a",
    "a/b/c",
    "x" * 200,
    "\u20ac \U0001f600",
    ".hidden",
    "-rf",
    "a b'\"$;",
    "_sources",
    "...",
]


def seen(folder):
    return {path: path.read_bytes() for path in files_below(folder)}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_bad_artifact_names_write_nothing(ex, tmp_path, name):
    (tmp_path / "file").write_text("an artifact")
    (tmp_path / "outside").mkdir()
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    states = []

    @ex.main
    def main(_run):
        os.symlink(tmp_path / "outside", os.path.join(_run.dir, "link"))
        states.append(seen(tmp_path))
        with contextlib.suppress(ObserverError):
            ex.add_artifact(tmp_path / "file", name)
            assert name == "link"
        states.append(seen(tmp_path))

    ex.run()
    before, after = states
    if name == "link":
        assert not os.path.islink(tmp_path / "runs" / "1" / "link")
        after.pop(tmp_path / "runs" / "1" / "link")
        before[tmp_path / "runs/1/run.json"] = after[tmp_path / "runs/1/run.json"]
    assert after == before
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.parametrize("name", GOOD, ids=ascii)
def test_odd_artifact_names_are_stored_inside(ex, tmp_path, name):
    (tmp_path / "file").write_text("an artifact")
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    ex.main(lambda: ex.add_artifact(tmp_path / "file", name))
    ex.run()
    assert (tmp_path / "runs" / "1" / name).read_text() == "an artifact"
    (run,) = complete_runs(tmp_path / "runs")
    assert run["artifacts"] == [name]


@pytest.mark.parametrize("run_id", [name for name in NAMES if not name.endswith((".json", ".txt"))
                                    and name not in ("link", "metrics.jsonl", "git.diff", "RUN.JSON",
                                                     "C:x")] + [5.5, -1, 0, True],
                         ids=ascii)  # fmt: skip
def test_ids_of_every_kind_write_nothing_outside(ex, tmp_path, run_id):
    ex.observers.append(FileStorageObserver(tmp_path / "base" / "runs"))
    ex.main(lambda: 5)
    with contextlib.suppress(ObserverError):
        ex.run(options={"id": run_id})
    assert os.listdir(tmp_path) in ([], ["base"])
    made = list((tmp_path / "base" / "runs").glob("*")) if (tmp_path / "base").exists() else []
    assert not isinstance(run_id, str) or not made
    assert len(made) <= 2 and not leftovers(tmp_path)


@pytest.mark.parametrize(
    "name", ["a\nb", "\ud800", "", "x" * 1000, "../../x", '"', "a.b"], ids=ascii
)
def test_metric_and_info_names_of_every_kind_are_recorded(ex, tmp_path, name):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))

    @ex.main
    def main(_run):
        _run.log_scalar(name, 1)
        _run.info[name] = 1

    ex.run()
    (run,) = complete_runs(tmp_path / "runs")
    assert len(run["metrics"]) == len(run["info"]) == 1
    if name != "\ud800":
        assert list(run["metrics"]) == list(run["info"]) == [name]


# -- secrets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, shown",
    [
        ("https://joe:geheim@example.com/repo.git", "example.com/repo.git"),
        ("https://geheim@example.com/repo", "example.com/repo"),
        ("https://joe:ge@heim:geheim@example.com/repo", "example.com/repo"),
        ("https://joe:geheim/geheim@example.com/repo", "example.com/repo"),
        ("ssh://joe:geheim@example.com:22/repo", "example.com:22/repo"),
        ("https://example.com/repo?access_token=geheim", "example.com/repo"),
        ("https://example.com/repo#geheim", "example.com/repo"),
        ("git@example.com:group/repo.git", "example.com:group/repo.git"),
    ],
)
def test_secret_of_a_git_remote_is_nowhere(place, url, shown):
    place.write(QUIET)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.com"]
    for command in (
        ["init", "-q"], ["remote", "add", "origin", url], ["add", "."], ["commit", "-qm", "x"],
    ):  # fmt: skip
        subprocess.run([*git, *command], cwd=place.path, check=True, capture_output=True)
    done = place.python("exp.py", "-F", "runs", "-l", "DEBUG")
    stored = b"".join(seen(place.path / "runs").values()).decode()
    assert "geheim" not in stored + done.out + done.err
    (repository,) = done.run().run["experiment"]["repositories"]
    assert shown in (repository["url"] or shown)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "mongodb://joe:geheim@127.0.0.1:1/db"], ["-m", "joe:geheim@127.0.0.1:1:db"],
        ["--mongo_db=mongodb://joe:geheim@127.0.0.1:1/db"],
        ["--mongo-db", "mongodb://127.0.0.1:1/db?password=geheim"],
    ],
)  # fmt: skip
def test_secret_of_a_database_url_is_nowhere(place, arguments):
    done = place(QUIET, *arguments, "-F", "runs", "-l", "DEBUG")
    assert done.code != 0 and "hello" not in done.out and "Traceback" not in done.err
    folder = place.path / "runs"
    stored = b"".join(seen(folder).values()).decode() if folder.exists() else ""
    assert "geheim" not in stored + done.out + done.err


# -- clock and forks -------------------------------------------------------------------------


def test_clock_that_is_set_back_does_not_take_the_times_back(place):
    """Only this script's clock: `time.time` is what the clock of the system is to it."""
    done = place(
        REPORT
        + """
import time
real, offset = time.time, [0]
time.time = lambda: real() + offset[0]

class Beats(RunObserver):
    def heartbeat_event(self, beat_time, **_):
        report(f"{beat_time.isoformat(timespec='microseconds')}")

ex.observers.append(Beats())

@ex.main
def main(_run):
    for offset[0] in (0, -3600, 7200, -86400):
        _run.log_scalar("loss", 1)
        time.sleep(0.1)
""",
        "-F", "runs", "-b", "0.02",
    )  # fmt: skip
    (run,) = complete_runs(place.path / "runs")
    beats = reported(place)
    assert len(beats) > 4 and beats == sorted(beats)
    assert run["start_time"] <= beats[0] and run["stop_time"] <= min(beats[-1], run["heartbeat"])
    times = run["metrics"]["loss"]["timestamps"]
    assert (
        times == sorted(times) and run["start_time"] <= times[0] and times[-1] <= run["stop_time"]
    )
    assert "Completed after 0:00:0" in done.err


@pytest.mark.parametrize(
    "end", ["return 'child'", "raise ValueError('child')", "sys.exit(3)", "os._exit(0)",
            "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
            "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"],
)  # fmt: skip
def test_fork_that_outlives_the_run_never_changes_what_it_recorded(place, end):
    place.write(
        REPORT
        + f"""
import os, signal, sys, time

@ex.main
def main(_run):
    _run.log_scalar("loss", 1)
    if os.fork():
        return "parent"
    for _ in range(600):
        if os.path.exists("ended"):
            break
        time.sleep(0.05)
    _run.log_scalar("loss", 2)
    _run.info["child"] = True
    report(os.getpid())
    {end}
"""
    )
    with open(place.path / "terminal", "wb") as terminal:
        process = place.start(
            "exp.py", "-F", "runs", "-b", "0.02", stdout=terminal, stderr=terminal
        )
        assert process.wait(timeout=20) == 0
    (run,) = complete_runs(place.path / "runs")
    before = seen(place.path / "runs")
    (place.path / "ended").touch()
    wait_for(lambda: reported(place))
    child = int(reported(place)[0])
    wait_for(lambda: not minisacred._process_start(child))
    after = seen(place.path / "runs")
    cout = place.path / "runs" / "1" / "cout.txt"
    before.pop(cout), after.pop(cout)
    assert after == before and run["result"] == "parent"
    assert "minisacred.py" not in (place.path / "terminal").read_text()


@SIGNALS
def test_signal_ends_a_run_with_threads_and_workers_as_python_does(place, number):
    place.write(
        """
        import threading, time
        from concurrent.futures import ProcessPoolExecutor

        def save():
            time.sleep(0.5)
            open("saved", "w").close()

        @ex.main
        def main():
            threading.Thread(target=save).start()
            pool = ProcessPoolExecutor(2)
            futures = [pool.submit(time.sleep, 0.2) for _ in range(4)]
            print("ready", flush=True)
            time.sleep(60)
        """
    )
    process = place.start("exp.py", "-F", "runs")
    process.stdout.readline()
    process.send_signal(number)
    check_interrupted(place, process, number)
    assert (place.path / "saved").exists()


def test_threads_that_may_not_run_leave_the_run_alone(place):
    done = place(
        """
        import random, sys, threading
        sys.setswitchinterval(1e-5)

        ex.add_config(a=1)

        @ex.capture
        def get_a(a):
            return a

        @ex.main
        def main(_run):
            def second():
                for _ in range(100):
                    try:
                        ex.run(config_updates={"a": 2})
                    except SacredError as error:
                        assert "another thread" in str(error)
                        refused.append(error)
            refused, seen = [], set()
            random.seed(5)
            thread = threading.Thread(target=second)
            thread.start()
            while thread.is_alive() or not seen:
                seen |= {get_a()} if ex.current_run is _run else {'other'}
            same = random.random() == random.Random(5).random()
            return len(refused), sorted(map(str, seen)), same
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.run().run["result"] == [100, ["1"], True], done.err


def test_fork_of_a_thread_may_run_experiments(place):
    done = place(
        """
        import multiprocessing

        ex.add_config(a=0)

        def child(i):
            return ex.run("echo", config_updates={"a": i}).result

        @ex.command
        def echo(a):
            return a

        @ex.main
        def main():  # the pool's own thread forks the later workers
            with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
                return pool.map(child, [1, 2, 3], chunksize=1)
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.run().run["result"] == [1, 2, 3], done.err


@pytest.mark.parametrize("mode", ["sys", "fd"])
def test_fork_can_print_whatever_other_threads_do_just_then(place, mode):
    """Unbuffered, for the lock of a buffer is Python's own, and has that very fault."""
    done = place(
        """
        import os, threading

        @ex.main
        def main():
            def chat():
                while not stop:
                    print("working", flush=True)
            stop = []
            threads = [threading.Thread(target=chat) for _ in range(2)]
            [thread.start() for thread in threads]
            for i in range(20):
                child = os.fork()
                if not child:
                    print("<child>", flush=True)
                    os._exit(0)
                os.waitpid(child, 0)
            stop.append(True)
            [thread.join() for thread in threads]
        """,
        "-F", "runs", "-C", mode, env={"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.run().cout.count("<child>") == 20


@pytest.mark.parametrize(
    "spoil",
    [
        "sys.stderr = open(os.devnull, 'w'); sys.stderr.close()",
        "logging.getLogger('exp').addHandler(Broken())",
    ],
    ids=["closed stderr", "broken handler"],
)
def test_log_that_cannot_be_written_does_not_cost_the_record(place, spoil):
    done = place(
        f"""
        import logging, os, sys

        class Broken(logging.Handler):
            def emit(self, record):
                raise RuntimeError("broken")

        @ex.main
        def main():
            {spoil}
            return 42
        """,
        "-F", "runs",
    )  # fmt: skip
    assert (done.code, done.run().run["status"], done.run().run["result"]) == (0, "COMPLETED", 42)


@pytest.mark.parametrize(
    "how",
    [
        "ex.run(options={'-b': 1e10})",
        "SETTINGS.DEFAULT_BEAT_INTERVAL = float('inf'); ex.run()",
        "SETTINGS.OBSERVER_TIMEOUT = float('inf'); ex.run()",
    ],
)
def test_times_longer_than_threads_can_wait_cost_nothing(place, how):
    how = how.replace("'-b'", "'beat_interval'")
    done = place(
        f"""
        ex.observers.append(FileStorageObserver("runs"))

        @ex.main
        def main(_run):
            _run.add_artifact("exp.py")
            _run.log_scalar("loss", 1)
            return 42

        {how}
        """,
        script={"footer": ""},
    )
    assert done.code == 0 and "Error" not in done.err, done.err
    assert done.run().run["status"] == "COMPLETED" and done.run().metrics["loss"]["values"] == [1]
    check_json(place.path)


TIMED = """
import signal, threading, time

def on_signal(*_):
    raise TimeoutInterrupt("no time left")

signal.signal(signal.SIGUSR1, on_signal)

class Slow(RunObserver):
    priority = 50

    def completed_event(self, stop_time, result):
        report("saving")
        time.sleep(0.5)

ex.observers.append(Slow())
"""


def test_handler_of_the_program_waits_until_the_run_is_recorded(place):
    source = """
    @ex.main
    def main():
        return 42
    """
    place.write(REPORT + TIMED + textwrap.dedent(source))
    process = place.start("exp.py", "-F", "runs")
    wait_for(lambda: "saving" in reported(place))
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "TimeoutInterrupt: no time left" in err
    [run] = complete_runs(place.path / "runs")
    assert run["result"] == 42


def test_handler_of_the_program_times_a_run_out(place):
    source = """
    @ex.main
    def main():
        report("ready")
        time.sleep(60)
    """
    place.write(REPORT + TIMED + textwrap.dedent(source))
    process = place.start("exp.py", "-F", "runs")
    wait_for(lambda: "ready" in reported(place))
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "Traceback" not in err
    assert place.run().run["status"] == "TIMEOUT" and place.run().run["stop_time"]


def test_timer_that_raises_at_any_moment_leaves_whole_records(place):
    done = place(
        """
        import logging, signal, threading, time
        logging.disable()

        class Late(Exception):
            pass

        def on_alarm(*_):
            raise Late

        signal.signal(signal.SIGALRM, on_alarm)
        ex.observers.append(FileStorageObserver("runs"))

        @ex.main
        def main(_run):
            global begun
            begun = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, delay)
            for i in range(100):
                _run.log_scalar("i", i)
            return 42

        delay = 0
        ex.run()
        usual = time.monotonic() - begun
        for i in range(100):
            delay = 0.00001 + usual * i / 80
            try:
                try:
                    ex.run()
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Late:
                pass
        assert signal.getsignal(signal.SIGALRM) is on_alarm
        assert threading.active_count() == 1
        """,
        script={"footer": ""},
    )
    assert done.code == 0, done.err
    runs = list(load_runs(place.path / "runs"))
    assert {run["status"] for run in runs} <= {"COMPLETED", "FAILED"} and len(runs) == 101
    check_json(place.path)


@pytest.mark.parametrize(
    "again", ["os.makedirs(_run.dir)", "_run.add_artifact('exp.py')", "_run.log_scalar('x', 1)"]
)
def test_removed_directory_that_somebody_makes_again_is_whole_in_the_end(place, again):
    done = place(
        f"""
        import os, shutil, time

        @ex.main
        def main(_run):
            _run.info["important"] = 1
            while '"important"' not in open(_run.dir + "/info.json").read():
                time.sleep(0.01)
            shutil.rmtree(_run.dir, ignore_errors=True)
            shutil.rmtree(_run.dir, ignore_errors=True)
            {again}
            time.sleep(0.2)
            return 7
        """,
        "-F", "runs", "-b", "0.05",
    )  # fmt: skip
    assert done.code == 0 and "was removed during the run" in done.err
    [run] = complete_runs(place.path / "runs")
    assert run["result"] == 7 and run["info"] == {"important": 1} and "seed" in run["config"]


def test_status_is_written_though_the_metrics_find_no_room(place):
    with small_disk(place.path / "disk", "3m"):
        done = place(
            """
            import os

            @ex.main
            def main(_run):
                for i in range(6000):
                    _run.log_scalar("loss", i / 7)
                while not open(_run.dir + "/metrics.jsonl").read().count("\\n") == 6000:
                    pass
                room = os.statvfs("disk")
                with open("disk/filler", "wb") as file:
                    file.write(b"x" * (room.f_bavail * room.f_frsize - 60_000))
                return 42
            """,
            "-F", "disk/runs", "-b", "0.05",
        )  # fmt: skip
        [run] = load_runs(place.path / "disk/runs")
        assert run["status"] == "COMPLETED" and run["result"] == 42, done.err
        assert len(run["metrics"]["loss"]["values"]) == 6000


def test_time_follows_a_clock_that_runs_ahead(place):
    """As after the machine has slept: the monotonic clock has not counted that time."""
    done = place(
        """
        import time
        real, offset = time.time, [0]
        time.time = lambda: real() + offset[0]

        @ex.main
        def main(_run):
            offset[0] = 8 * 3600
            time.sleep(0.2)
        """,
        "-F", "runs", "-b", "0.05",
    )  # fmt: skip
    [run] = load_runs(place.path / "runs")
    assert run["stop_time"][:13] > run["start_time"][:13] and "Completed after 0:00:0" in done.err


@pytest.mark.parametrize(
    "end", ["return weakref.proxy(Gone())", "sys.exit(weakref.proxy(Gone()))", "raise Strange"]
)
def test_what_cannot_even_be_asked_ends_a_run_as_well(place, end):
    done = place(
        f"""
        import sys, weakref

        class Gone:
            pass

        class Strange(SacredInterrupt):
            @property
            def STATUS(self):
                raise RuntimeError

        @ex.main
        def main():
            {end}
        """,
        "-F", "runs",
    )  # fmt: skip
    assert place.run().run["status"] in ("COMPLETED", "FAILED"), done.err
    assert place.run().run["stop_time"]


def test_terminated_run_does_not_wait_for_threads_that_never_end(place):
    place.write(
        """
        import queue, threading, time
        SETTINGS.OBSERVER_TIMEOUT = 1

        @ex.main
        def main():
            threading.Thread(target=queue.Queue().get).start()
            print("ready", flush=True)
            time.sleep(60)
        """
    )
    process = place.start("exp.py", "-F", "runs")
    process.stdout.readline()
    process.terminate()
    check_interrupted(place, process, signal.SIGTERM)


def test_signal_that_the_main_function_catches_leaves_the_handlers_as_they_were(place):
    done = place(
        """
        import os, signal, time

        @ex.main
        def main():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(10)
            except KeyboardInterrupt:
                return 5

        before = signal.getsignal(signal.SIGINT)
        assert ex.run_commandline(["exp", "-F", "runs"]).status == "COMPLETED"
        assert signal.getsignal(signal.SIGINT) is before
        """,
        script={"footer": ""},
    )
    assert done.code == 0, done.err


def test_removed_directory_costs_other_observers_nothing(place):
    done = place(
        """
        import shutil, time
        ex.observers += [FileStorageObserver("a"), FileStorageObserver("b")]

        def wait_for(text):
            while text not in open("b/1/cout.txt").read():
                time.sleep(0.01)

        @ex.main
        def main():
            print("early", flush=True)
            wait_for("early")
            shutil.rmtree("a/1", ignore_errors=True)
            print("late", flush=True)
            wait_for("late")
        """,
        "-b", "0.05",
    )  # fmt: skip
    assert done.code == 0, done.err
    lines = (place.path / "b/1/cout.txt").read_text().splitlines()
    assert "early" in lines and "late" in lines


def test_handler_that_the_main_function_installs_waits_as_well_and_is_put_back(place):
    done = place(
        """
        import os, signal

        class Saving(FileStorageObserver):
            def completed_event(self, **arguments):
                os.kill(os.getpid(), signal.SIGTERM)
                super().completed_event(**arguments)

        def save(*_):
            print("saved", [run["status"] for run in __import__("minisacred").load_runs("runs")])

        ex.observers.append(Saving("runs"))

        @ex.main
        def main():
            signal.signal(signal.SIGTERM, save)

        before = signal.getsignal(signal.SIGTERM)
        ex.run_commandline(["exp"])
        assert signal.getsignal(signal.SIGTERM) is before
        """,
        script={"footer": ""},
    )
    assert done.code == 0 and done.out == "saved ['COMPLETED']\n", done.err
