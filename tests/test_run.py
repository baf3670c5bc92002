"""The life of a run: how it ends, what it measures, and what signals, forks and kills do to it."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading

import pytest
from helpers import Recorder, RunFiles, environment, wait_for

import minisacred
from minisacred import FileStorageObserver, SacredInterrupt, TimeoutInterrupt, load_runs

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and forks")
SIGNALS = pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])


class Enough(SacredInterrupt):
    STATUS = "ENOUGH"


@pytest.fixture
def files(ex, tmp_path):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    return RunFiles(tmp_path / "runs" / "1")


def raising(error):
    def main():
        raise error

    return main


def exit_code(ex, *argv):
    """Return what a command line exits with; 0 if it returns."""
    try:
        ex.run_commandline(["exp.py", *argv])
    except SystemExit as error:
        return error.code
    return 0


@pytest.mark.parametrize(
    "error, status, code",
    [
        (SystemExit(), "COMPLETED", 0),
        (SystemExit(0), "COMPLETED", 0),
        (SystemExit(3), "FAILED", 3),
        (SystemExit("no"), "FAILED", "no"),
        (ValueError("oops"), "FAILED", 1),
        (TimeoutInterrupt(), "TIMEOUT", 1),
        (SacredInterrupt(), "INTERRUPTED", 1),
        (Enough(), "ENOUGH", 1),
    ],
    ids=repr,
)
def test_what_main_raises_decides_status_and_exit_code(ex, files, error, status, code):
    ex.main(raising(error))
    assert (exit_code(ex) or 0) == code
    assert files.run["status"] == status and files.run["stop_time"]


def test_finished_run_has_what_is_documented(ex, files):
    ex.main(lambda: print("text") or 3)
    run = ex.run(info={"a": 1}, meta_info={"comment": "c"})
    names = (
        "_id config config_modifications result status info meta_info start_time stop_time "
        "heartbeat_time queue_only unobserved force debug pdb beat_interval capture_mode "
        "captured_out fail_trace experiment_info host_info observers dir resumed main_function "
        "pre_run_hooks post_run_hooks root_logger run_logger log_scalar open_resource "
        "add_resource add_artifact"
    )
    assert [name for name in names.split() if not hasattr(run, name)] == []
    assert (run._id, run.status, run.result, run.captured_out) == ("1", "COMPLETED", 3, "text\n")
    assert run.start_time <= run.stop_time and run.start_time <= run.heartbeat_time
    assert (run.info, run.dir, run.resumed) == ({"a": 1}, str(files.path), False)


@pytest.mark.parametrize("command", ["main", "other"])
def test_coroutine_is_run(ex, command):
    async def main(n):
        await asyncio.sleep(0)
        return n + 1

    ex.add_config(n=1)
    ex.main(main)

    @ex.command
    async def other(n):
        return await main(n)

    assert ex.run(command).result == 2


def test_hooks_run_around_main(ex):
    order = []
    ex.add_config(a=1)

    @ex.pre_run_hook
    def before(a):
        order.append(("pre", a))

    @ex.post_run_hook
    def after(_run):
        order.append(("post", _run.result))

    ex.main(lambda: order.append("main") or 5)
    ex.run()
    assert order == [("pre", 1), "main", ("post", 5)]


def test_post_run_hooks_are_left_out_after_a_failure(ex):
    called = []
    ex.post_run_hook(lambda: called.append(1))
    ex.main(raising(ValueError()))
    with pytest.raises(ValueError):
        ex.run()
    assert not called


def test_run_works_where_no_threads_and_processes_can_be_started(ex, files, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(subprocess, "Popen", raising(OSError("no processes")))
    ex.main(lambda _run: print("text") or _run.log_scalar("loss", 1) or 5)
    assert ex.run().result == 5
    assert files.run["status"] == "COMPLETED" and files.cout == "text\n"
    assert files.metrics["loss"]["values"] == [1]


OWN = os.path.basename(minisacred.__file__)


@pytest.fixture
def failing(ex):
    """The error of a main function that fails in a captured one, as it was called by another."""
    ex.add_config(a=0)
    error = KeyError("outer")

    @ex.capture
    def divide(a):
        return 1 / a

    @ex.main
    def main():
        try:
            divide()
        except ZeroDivisionError as inner:
            raise error from inner

    return error


def test_exception_of_main_is_recorded_and_raised_unchanged(ex, files, failing):
    with pytest.raises(KeyError) as caught:
        ex.run()
    assert caught.value is failing and ex.current_run.status == "FAILED"
    assert files.run["fail_trace"][-1] == "KeyError: 'outer'\n"


def test_trace_has_no_frames_of_minisacred(ex, files, failing, capsys):
    assert exit_code(ex) == 1
    trace = files.run["fail_trace"]
    assert "".join(trace).count("\n") == len(trace)  # a list of lines
    for text in ("".join(trace), capsys.readouterr().err):
        assert OWN not in text and "in divide" in text and "in main" in text
        assert text.index("ZeroDivisionError") < text.index("KeyError: 'outer'")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_trace_of_an_exception_group_has_no_frames_of_minisacred(ex, files):
    @ex.capture
    def fail(n):
        raise KeyError(n)

    @ex.main
    def main():
        errors = []
        for n in range(2):
            try:
                fail(n)
            except KeyError as error:
                errors.append(error)
        raise ExceptionGroup("both", errors)  # noqa: F821

    assert exit_code(ex) == 1
    trace = "".join(files.run["fail_trace"])
    assert trace.count("in fail") == 2 and OWN not in trace


def test_printed_trace_of_a_cancelled_coroutine_has_no_frames_of_minisacred(ex, capsys):
    @ex.main
    async def main():
        raise asyncio.CancelledError

    assert exit_code(ex) == 1
    printed = capsys.readouterr().err
    assert "in main" in printed and OWN not in printed


def test_debug_keeps_the_whole_trace_and_leaves_the_exception_to_others(ex, files, failing):
    with pytest.raises(KeyError, match="outer"):
        ex.run_commandline("exp.py -d")
    assert OWN in "".join(files.run["fail_trace"])


def test_pdb_starts_in_the_frame_of_the_user(place):
    place.write(
        """
        @ex.capture
        def deeper(secret):
            local = 42
            return local / 0
        @ex.main
        def main():
            deeper(1)
        """
    )
    done = subprocess.run(
        [sys.executable, "exp.py", "-D", "-F", "runs"], input="p local + secret\nq\n", text=True,
        cwd=place.path, capture_output=True, env=environment(), timeout=60,
    )  # fmt: skip
    assert "(Pdb) 43" in done.stdout and done.returncode == 1
    assert place.run().run["status"] == "FAILED"


PHASES = {
    "start": "class Slow(RunObserver):\n    def started_event(self, **_): pause()",
    "sleep": "@ex.main\ndef main(): reach(); time.sleep(60)",
    "computation": "@ex.main\ndef main():\n    reach()\n    while True: pass",
    "child": "@ex.main\ndef main(): subprocess.run(['sh', '-c', ': >reached; exec sleep 60'])",
    "end": "class Slow(RunObserver):\n    def completed_event(self, **_): pause()",
}

SIGNALLED = """
import os, subprocess, time
def reach():
    os.close(os.open("reached", os.O_CREAT))
def pause():
    reach()
    while not os.path.exists("go"):
        time.sleep(0.01)
class Slow(RunObserver):
    pass
@ex.main
def main():
    print("all of main")
{phase}
ex.observers += [FileStorageObserver("runs"), Slow()]
"""


@POSIX
@SIGNALS
@pytest.mark.parametrize("phase", PHASES)
def test_signal_ends_a_run_in_each_phase(place, phase, name):
    number = getattr(signal, name)
    place.write(SIGNALLED.format(phase=PHASES[phase]))
    terminal = place.path / "terminal"
    with open(terminal, "wb") as file:
        process = place.start("exp.py", stdout=file, stderr=file, start_new_session=True)
    wait_for((place.path / "reached").exists)
    process.send_signal(number)
    (place.path / "go").touch()
    process.wait(timeout=30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # a child that was just being started
    said = terminal.read_text()
    assert process.returncode == -number and "Traceback" not in said, said
    run = place.run().run
    assert run["status"] == ("COMPLETED" if phase == "end" else "INTERRUPTED")
    assert run["stop_time"] and run["fail_trace"] is None
    assert ("all of main\n" in place.run().cout) == (phase == "end")


@POSIX
def test_sighup_is_ignored_under_nohup(place):
    place.write(SIGNALLED.format(phase="@ex.main\ndef main(): pause(); return 5"))
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    process = place.start("exp.py", preexec_fn=ignore)
    wait_for((place.path / "reached").exists)
    process.send_signal(signal.SIGHUP)
    (place.path / "go").touch()
    process.communicate(timeout=30)
    assert process.returncode == 0 and place.run().run["result"] == 5


@POSIX
def test_sigterm_keeps_its_meaning_without_a_command_line(place):
    script = SIGNALLED.format(phase=PHASES["sleep"]) + "\nex.run()\n"
    place.write(script, footer="")
    process = place.start("exp.py")
    wait_for((place.path / "reached").exists)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert [run["status"] for run in load_runs(place.path / "runs")] == ["DEAD"]


@POSIX
def test_signal_handlers_are_put_back(ex):
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    ex.main(lambda: [signal.getsignal(number) for number in numbers])
    before = [signal.getsignal(number) for number in numbers]
    during = ex.run_commandline("exp.py").result
    assert [signal.getsignal(number) for number in numbers] == before
    assert all(a != b for a, b in zip(before, during))


@POSIX
def test_signal_handlers_of_the_program_are_left_alone(ex):
    mine = lambda number, frame: None
    old = signal.signal(signal.SIGTERM, mine)
    try:
        ex.main(lambda: signal.getsignal(signal.SIGTERM) is mine)
        assert ex.run_commandline("exp.py").result is True
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, old)


def test_heartbeats_save_the_state_while_the_run_goes_on(ex, files):
    @ex.main
    def main(_run):
        print("text", flush=True)
        _run.info["a"] = 1
        _run.log_scalar("loss", 0.5)
        begun = files.run["heartbeat"]
        wait_for(lambda: files.run["heartbeat"] > begun and files.info)
        return [files.cout, files.info, len(files.lines), files.run["status"]]

    assert ex.run(options={"beat_interval": 0.02}).result == ["text\n", {"a": 1}, 1, "RUNNING"]


def test_heartbeats_take_one_daemon_thread(ex):
    ex.observers += [Recorder(), Recorder()]
    before = set(threading.enumerate())
    ex.main(lambda: [t.daemon for t in set(threading.enumerate()) - before])
    assert ex.run(options={"capture": "no"}).result == [True]


def test_info_may_change_at_any_moment(ex, files, caplog):
    @ex.main
    def main(_run):
        def change(i):
            mine = _run.info[f"thread {i}"] = {"list": [], "tree": {}}
            for n in range(400):
                mine["list"].append(n)
                mine["tree"].setdefault(n % 13, {})[str(n)] = [n] * (n % 5)
                mine["tree"][n % 13].pop(str(n - 26), None)
                _run.info[f"{i} {n % 50}"] = n
                _run.info.pop(f"{i} {(n - 7) % 50}", None)

        threads = [threading.Thread(target=change, args=(i,)) for i in range(4)]
        [thread.start() for thread in threads]
        while any(thread.is_alive() for thread in threads):
            assert isinstance(files.info, dict)  # strict JSON, and whole
        return _run.info

    ex.run(options={"beat_interval": 0.002})
    assert files.info == files.run["result"] and caplog.text == ""


def test_measurements_of_all_threads_are_stored(ex, files):
    @ex.main
    def main(_run):
        log = lambda i: [_run.log_scalar("shared", n) or ex.log_scalar(f"m{i}", n, 2 * n)
                         for n in range(300)]  # fmt: skip
        threads = [threading.Thread(target=log, args=(i,)) for i in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]

    ex.run(options={"beat_interval": 0.002})
    assert files.metrics["shared"]["steps"] == list(range(1200))
    assert sorted(files.metrics["shared"]["values"]) == sorted([*range(300)] * 4)
    assert files.metrics["m3"]["values"] == list(range(300))
    assert files.metrics["m3"]["steps"] == list(range(0, 600, 2))


def test_steps_count_up_from_the_last_one_given(ex, files):
    @ex.main
    def main(_run):
        for metric, step in [("a", None), ("a", 10), ("a", None), ("b", None), ("a", None)]:
            _run.log_scalar(metric, 1.5, step)

    ex.run()
    assert files.metrics["a"]["steps"] == [0, 10, 11, 12] and files.metrics["b"]["steps"] == [0]


@pytest.mark.parametrize("value", ["1", None, [1], 1j, {}])
def test_what_is_no_number_is_a_type_error_at_the_call(ex, value):
    ex.main(lambda _run: _run.log_scalar("loss", value))
    with pytest.raises(TypeError, match="loss"):
        ex.run()


def test_measurements_that_are_no_finite_numbers_are_text_on_disk(ex, files, tmp_path):
    values = [float("nan"), float("inf"), 2]
    ex.main(lambda _run: [_run.log_scalar("loss", value) for value in values][:0])
    ex.run()
    assert files.metrics["loss"]["values"] == ["NaN", "Infinity", 2]
    (run,) = load_runs(tmp_path / "runs")
    assert repr(run["metrics"]["loss"]["values"]) == "[nan, inf, 2]"


FORK = """
import os, time
@ex.main
def main(_run):
    open("file", "w").close()
    child = os.fork()
    if not child:
        print("of the child")
        _run.info["child"] = True
        {use}
        {use}
        return "child"
    os.waitpid(child, 0)
    _run.log_scalar("loss", 0.5)
    return "parent"
"""


@POSIX
@pytest.mark.parametrize(
    "use", ["_run.log_scalar('x', 1)", "_run.add_artifact('file')", "ex.add_resource('file')"]
)
def test_forked_process_records_nothing_and_is_warned_once(place, use):
    done = place(FORK.format(use=use), "-F", "runs", "-b", "0.01")
    files = place.run()
    assert done.code == 0 and files.run["result"] == "parent", done.err
    assert files.run["status"] == "COMPLETED" and list(files.metrics) == ["loss"]
    assert files.run["artifacts"] == files.run["resources"] == [] and files.info == {}
    assert "of the child\n" in files.cout
    warnings = [line for line in done.err.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 1 and "not recorded" in warnings[0], done.err


@POSIX
def test_forked_process_handles_signals_as_before_the_run(place):
    done = place(
        """
        import multiprocessing, time
        @ex.main
        def main():
            context = multiprocessing.get_context("fork")
            children = [context.Process(target=time.sleep, args=(60,)) for _ in range(5)]
            [child.start() for child in children]
            [child.terminate() for child in children]
            [child.join() for child in children]
            return [child.exitcode for child in children]
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.run().run["result"] == [-signal.SIGTERM] * 5, done.err


STORM = """
import itertools, os, subprocess
side = os.open("side", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
class Reporting(FileStorageObserver):
    def log_metrics(self, metrics_by_name, info):
        super().log_metrics(metrics_by_name, info)
        os.write(side, b"metrics %d\\n" % metrics_by_name["loss"]["values"][-1])
ex.observers.append(Reporting("runs"))
@ex.main
def main(_run):
    for i in itertools.count():
        print("python", i, flush=True)
        os.write(side, b"line python %d\\n" % i)
        os.write(1 + i % 2, b"write %d\\n" % i)
        os.write(side, b"line write %d\\n" % i)
        if i % 20 == 5:
            subprocess.run(["echo", f"child {i}"])
            os.write(side, b"line child %d\\n" % i)
        _run.log_scalar("loss", i)
        _run.info["i"] = i
"""


def check_killed(place, number):
    """Compare what a killed run has reported with what is stored."""
    said = (place.path / "side").read_text().split("\n")[:-1]
    lines = {line[5:] for line in said if line.startswith("line ")}
    last = max([int(line[8:]) for line in said if line.startswith("metrics ")], default=-1)
    (run,) = [run for run in load_runs(place.path / "runs") if run["_id"] == number]
    assert run["status"] == "DEAD" and "error" not in run
    values = run["metrics"].get("loss", {"values": []})["values"]
    assert values == list(range(len(values))) and len(values) > last
    files = place.run(str(number))
    assert files.run and files.config and files.metrics == {} and files.info is not None
    wait_for(lambda: lines <= set(place.run(str(number)).cout.splitlines()))


@POSIX
def test_kill_at_any_moment_loses_nothing_that_was_written(place):
    """Each run is killed when it has reported some number of lines, one in four as it starts."""
    place.write(STORM)
    rng, side = random.Random(os.getpid()), place.path / "side"
    for number in range(1, 9):
        side.write_text("")
        with open(place.path / "terminal", "wb") as shown:
            process = place.start("exp.py", "-b", "0.02", "-i", number, stdout=shown, stderr=shown)
        enough = rng.randrange(8000) if number % 4 else 0
        started = place.path / "runs" / str(number) / "run.json"
        wait_for(lambda: started.exists() and side.stat().st_size >= enough)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        check_killed(place, number)


def test_many_starts_at_once_get_numbers_of_their_own(place):
    place.write("@ex.main\ndef main(_run):\n    print('hello')\n    return int(_run._id)\n")
    with open(place.path / "output", "wb") as output:
        processes = [
            place.start("exp.py", "-F", "runs", stdout=output, stderr=output) for _ in range(48)
        ]
    assert [process.wait(timeout=120) for process in processes] == [0] * 48
    runs = list(load_runs(place.path / "runs"))
    assert [run["_id"] for run in runs] == [run["result"] for run in runs] == list(range(1, 49))
    assert {run["status"] for run in runs} == {"COMPLETED"}
    assert all("hello\n" in place.run(str(run["_id"])).cout for run in runs)
