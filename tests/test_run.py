"""The life-cycle of a run: statuses, exit codes, interrupts, failures, heartbeats."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT, environment

import minisacred
from minisacred import Experiment, RunObserver, SacredError

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals need POSIX")


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "body, code, status",
    [
        ("return 1", 0, "COMPLETED"),
        ("sys.exit()", 0, "COMPLETED"),
        ("sys.exit(0)", 0, "COMPLETED"),
        ("sys.exit(3)", 3, "FAILED"),
        ("sys.exit('text')", 1, "FAILED"),
        ("raise ValueError('oops')", 1, "FAILED"),
        ("raise TimeoutInterrupt", 1, "TIMEOUT"),
        ("raise SacredInterrupt", 1, "INTERRUPTED"),
        ("raise Converged('enough')", 1, "CONVERGED"),
        ("raise Early", 1, "Early-Stopped"),
        ("raise Odd", 1, "INTERRUPTED"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "INTERRUPTED"),
        ("raise GeneratorExit", 1, "FAILED"),
    ],
)
def test_how_a_run_ends(place, body, code, status):
    done = place(
        f"""
        import sys

        class Converged(SacredInterrupt):
            STATUS = "CONVERGED"

        class Early(SacredInterrupt):
            STATUS = "Early-Stopped"

        class Odd(SacredInterrupt):
            STATUS = 5

        @ex.main
        def main():
            {body}
        """,
        "-F", "runs",
    )  # fmt: skip
    assert (done.code, done.run().run["status"]) == (code, status), done.err
    run = done.run().run
    assert run["start_time"] <= run["stop_time"] <= run["heartbeat"]
    assert "minisacred.py" not in done.err
    if "Odd" in body:
        assert done.err.count("Odd.STATUS must be a text that names an end, not 5") == 1


def test_exception_of_main_is_recorded_and_raised_unchanged(ex):
    error = ValueError("x")

    @ex.main
    def main():
        raise error

    with pytest.raises(ValueError) as caught:
        ex.run()
    assert caught.value is error
    assert ex.current_run.status == "FAILED"
    assert ex.current_run.fail_trace[-1] == "ValueError: x\n"

    @ex.command
    def leave():
        sys.exit(0)

    with pytest.raises(SystemExit):
        ex.run("leave")
    assert ex.current_run.status == "COMPLETED"


def test_run_returns_the_finished_run(ex):
    @ex.config
    def config():
        a = 1

    @ex.main
    def main(a, _run):
        _run.info["note"] = a
        return a + 1

    run = ex.run(config_updates={"a": 5}, info={"given": 1}, meta_info={"who": "me"})
    assert (run.result, run.status, run.config["a"]) == (6, "COMPLETED", 5)
    assert run.info == {"given": 1, "note": 5} and run.meta_info["who"] == "me"
    assert run.start_time <= run.stop_time
    assert run._id is None and run.dir is None
    for name in (
        "config_modifications heartbeat_time queue_only unobserved force debug pdb beat_interval "
        "capture_mode captured_out fail_trace experiment_info host_info observers main_function "
        "pre_run_hooks post_run_hooks root_logger run_logger"
    ).split():
        getattr(run, name)


def test_coroutines_are_run(ex):
    import asyncio

    @ex.main
    async def main():
        await asyncio.sleep(0)
        return 5

    assert ex.run().result == 5


def test_hooks_run_around_main_and_post_hooks_not_after_a_failure(ex):
    calls = []
    ex.add_config(a=1, fail=False)

    @ex.pre_run_hook
    def before(a):
        calls.append(("before", a))

    @ex.post_run_hook
    def after(_run):
        calls.append(("after", _run.result))

    @ex.main
    def main(fail):
        calls.append("main")
        return 1 / (not fail)

    ex.run()
    assert calls == [("before", 1), "main", ("after", 1.0)]
    calls.clear()
    with pytest.raises(ZeroDivisionError):
        ex.run(config_updates={"fail": True})
    assert calls == [("before", 1), "main"]


def test_nested_runs_of_one_experiment_give_the_outer_one_back(ex):
    ex.add_config(depth=0)

    @ex.capture
    def depth_of(depth, _run):
        return depth, _run.config["depth"]

    @ex.main
    def main(depth):
        outer = ex.current_run
        if depth < 3:
            assert ex.run(config_updates={"depth": depth + 1}).result == depth + 1
            with pytest.raises(ZeroDivisionError):
                ex.run("fails", config_updates={"depth": depth + 1})
        assert ex.current_run is outer
        assert depth_of() == (depth, depth)
        return depth

    @ex.command
    def fails(depth):
        return 1 / 0

    assert ex.run().result == 0


def test_two_runs_at_once_in_threads_are_refused(ex):
    import threading

    other = Experiment("other")
    problems = []

    @other.main
    def other_main():
        pass

    def in_thread():
        try:
            other.run()
        except SacredError as error:
            problems.append(str(error))

    @ex.main
    def main():
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()

    ex.run()
    assert len(problems) == 1 and "use a process for each" in problems[0]
    other.run()


def test_fail_trace_has_no_frames_of_ours_in_chained_exceptions_either(place):
    done = place(
        """
        @ex.capture
        def inner():
            raise KeyError("first")

        @ex.capture
        def outer():
            try:
                inner()
            except KeyError as error:
                raise ValueError("second") from error

        @ex.main
        def main():
            outer()
        """,
        "-F", "runs",
    )  # fmt: skip
    trace = "".join(done.run().run["fail_trace"])
    assert trace in done.err
    assert "minisacred" not in trace and "captured" not in trace
    assert "KeyError: 'first'" in trace and "ValueError: second" in trace
    assert trace.count("in inner") == trace.count("in main") == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups need Python 3.11")
def test_fail_trace_has_no_frames_of_ours_in_exception_groups(place):
    done = place(
        """
        @ex.capture
        def fails(n):
            raise KeyError(n)

        @ex.main
        def main():
            errors = []
            for n in range(2):
                try:
                    fails(n)
                except KeyError as error:
                    errors.append(error)
            raise ExceptionGroup("both", errors)
        """,
        "-F", "runs",
    )  # fmt: skip
    trace = "".join(done.run().run["fail_trace"])
    assert trace.count("in fails") == 2 and "minisacred" not in trace


def test_debug_keeps_the_whole_trace(place):
    done = place("@ex.main\ndef main():\n    1 / 0\n", "-d", "-F", "runs")
    assert done.code == 1
    assert "minisacred.py" in done.err and "ZeroDivisionError" in done.err
    assert "minisacred.py" in "".join(done.run().run["fail_trace"])


def test_pdb_starts_in_the_users_frame(place):
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


@POSIX
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(60)",
        "while True: pass",
        "subprocess.run(['sleep', '60'])",
        "threading.Event().wait(60)",
        "[captured() for _ in iter(int, 1)]",
    ],
)
def test_signals_end_a_run_with_a_final_status(place, number, code, body):
    place.write(
        f"""
        import subprocess, threading, time

        @ex.capture
        def captured():
            pass

        @ex.main
        def main():
            print("ready", flush=True)
            {body}
        """
    )
    process = place.start("exp.py", "-F", "runs", start_new_session=True)
    process.stdout.readline()
    process.send_signal(number)
    process.send_signal(number)
    process.wait(timeout=20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # a child that was just being started
    out, err = process.communicate(timeout=20)
    assert process.returncode == code - 128 - 2 * (code - 128), err
    run = place.run().run
    assert run["status"] == "INTERRUPTED" and run["stop_time"]
    assert "ready" in place.run().cout and "Aborted after" in place.run().cout
    assert "Traceback" not in err


@POSIX
def test_clean_up_of_the_experiment_runs_after_sigterm(place):
    place.write(
        """
        import atexit, time

        @ex.main
        def main():
            atexit.register(print, "at exit")
            try:
                print("ready", flush=True)
                time.sleep(60)
            except KeyboardInterrupt:
                print("interrupted")
                raise
            finally:
                print("finally")
        """
    )
    process = place.start("exp.py", "-F", "runs")
    process.stdout.readline()
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    assert out.splitlines() == ["interrupted", "finally", "at exit"]


@POSIX
def test_signal_handlers_are_put_back(place):
    done = place(
        """
        import signal

        @ex.main
        def main():
            pass

        before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
        ex.run_commandline(["exp.py", "-F", "runs"])
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
        """,
        script={"footer": ""},
    )
    assert done.code == 0, done.err


@POSIX
def test_sigterm_of_a_plain_run_keeps_its_meaning(place):
    done = place(
        """
        import os, signal

        @ex.main
        def main():
            os.kill(os.getpid(), signal.SIGTERM)

        ex.observers.append(FileStorageObserver("runs"))
        ex.run()
        """,
        script={"footer": ""},
    )
    assert done.code == -signal.SIGTERM
    assert done.run().run["status"] == "RUNNING"
    (run,) = minisacred.load_runs(place.path / "runs")
    assert run["status"] == "DEAD"


@POSIX
def test_fork_that_outlives_the_run_or_returns_from_main_never_writes_the_status(place):
    done = place(
        """
        import os, time

        @ex.main
        def main():
            if os.fork() == 0:
                return "child"
            os.wait()
            return "parent"

        ex.observers.append(FileStorageObserver("runs"))
        run = ex.run()
        print(os.getpid(), run.result)
        """,
        script={"footer": ""},
    )
    assert done.run().run["result"] == "parent"
    assert done.run().run["status"] == "COMPLETED"


class Recorder(RunObserver):
    """Remembers the events it gets."""

    def __init__(self, priority=0, fail_at=()):
        self.events, self.priority, self.fail_at = [], priority, fail_at

    def __getattribute__(self, name):
        value = object.__getattribute__(self, name)
        if not (name.endswith("_event") or name in ("log_metrics", "join")):
            return value

        def event(**arguments):
            if name in self.fail_at:
                raise OSError(f"{name} fails")
            self.events.append((name, arguments))
            return "recorded" if name in ("started_event", "queued_event") else None

        return event

    @property
    def names(self):
        return [name for name, _ in self.events]


def test_events_come_in_order_with_sacreds_arguments(ex, tmp_path):
    observer = Recorder()
    ex.observers.append(observer)
    (tmp_path / "file").write_text("x")
    ex.add_config(a=1)

    @ex.main
    def main(a, _run):
        _run.log_scalar("loss", 0.5)
        _run.add_artifact(tmp_path / "file", metadata={"k": 1})
        _run.add_resource(tmp_path / "file")
        print("text")
        return 7

    run = ex.run()
    assert observer.names == [
        "started_event", "artifact_event", "resource_event", "log_metrics", "heartbeat_event",
        "completed_event", "join",
    ]  # fmt: skip
    events = dict(observer.events)
    started = events["started_event"]
    assert set(started) == {
        "ex_info", "command", "host_info", "start_time", "config", "meta_info", "_id"}  # fmt: skip
    assert started["command"] == "main" and started["config"]["a"] == 1
    assert run._id == "recorded"
    assert set(events["heartbeat_event"]) == {"info", "captured_out", "beat_time", "result"}
    assert "text\n" in events["heartbeat_event"]["captured_out"]
    assert events["heartbeat_event"]["result"] == 7
    metric = events["log_metrics"]["metrics_by_name"]["loss"]
    assert metric["steps"] == [0] and metric["values"] == [0.5]
    assert metric["timestamps"][0] >= run.start_time
    assert events["artifact_event"]["metadata"] == {"k": 1}


def test_observers_are_called_by_priority_and_share_the_id(ex):
    order = []

    class Second(RunObserver):
        priority = 10

        def started_event(self, _id, **_):
            order.append((self.priority, _id))
            return _id or 77

    class First(Second):
        priority = 20

    ex.observers += [Second(), First()]
    ex.main(lambda: None)
    assert ex.run()._id == 77
    assert order == [(20, None), (10, 77)]


def test_observer_that_fails_at_the_start_stops_the_run_before_main(ex):
    called = []
    ex.observers.append(Recorder(fail_at=("started_event",)))
    ex.main(lambda: called.append(1))
    with pytest.raises(OSError, match="started_event fails"):
        ex.run()
    assert not called


def test_observer_that_fails_for_a_while_misses_nothing(ex, caplog):
    bad = Recorder(fail_at=["log_metrics", "artifact_event"])
    good = Recorder()
    ex.observers += [bad, good]

    @ex.main
    def main(_run):
        _run.log_scalar("loss", 1)
        _run.add_artifact(__file__)
        time.sleep(0.1)
        _run.log_scalar("loss", 2)
        bad.fail_at.clear()
        time.sleep(0.1)
        _run.log_scalar("loss", 3)

    ex.run(options={"beat_interval": 0.02})

    def losses(observer):
        metrics = [a["metrics_by_name"]["loss"] for n, a in observer.events if n == "log_metrics"]
        return [value for metric in metrics for value in metric["values"]]

    assert losses(bad) == losses(good) == [1, 2, 3]
    assert "artifact_event" in bad.names and bad.names[-2:] == ["completed_event", "join"]
    assert caplog.text.count("failed, and is tried again") == 1


def test_observer_that_always_fails_harms_nobody(ex, caplog):
    events = ["heartbeat_event", "completed_event", "join", "log_metrics"]
    bad, good = Recorder(priority=5, fail_at=events), Recorder()
    ex.observers += [bad, good]

    @ex.main
    def main(_run):
        _run.log_scalar("loss", 1)
        return 3

    assert ex.run().result == 3
    assert good.names[-2:] == ["completed_event", "join"]
    assert "the record of" in caplog.text and "completed_event" in caplog.text


def test_observer_that_hangs_in_a_heartbeat_is_waited_for_no_longer_than_the_setting(ex, caplog):
    class Hangs(RunObserver):
        def heartbeat_event(self, **_):
            time.sleep(5)

    good = Recorder()
    ex.observers += [Hangs(), good]

    @ex.main
    def main():
        time.sleep(0.1)

    minisacred.SETTINGS.OBSERVER_TIMEOUT = 0.3
    start = time.monotonic()
    try:
        ex.run(options={"beat_interval": 0.02})
    finally:
        minisacred.SETTINGS.OBSERVER_TIMEOUT = 10.0
    assert time.monotonic() - start < 3
    assert good.names.count("heartbeat_event") > 1 and "completed_event" in good.names
    assert "has not answered" in caplog.text


def test_heartbeats_come_at_the_interval_and_once_at_the_end(ex):
    observer = Recorder()
    ex.observers.append(observer)
    ex.main(lambda: time.sleep(0.3))
    run = ex.run(options={"--beat-interval": 0.05})
    assert 3 <= observer.names.count("heartbeat_event") <= 8
    assert run.beat_interval == 0.05


def test_info_may_change_from_threads_while_beats_fire(place):
    done = place(
        """
        import threading

        @ex.main
        def main(_run):
            stop = threading.Event()
            def change(i):
                n = 0
                while not stop.is_set():
                    n += 1
                    _run.info.setdefault(i, {})[n % 50] = list(range(n % 20))
                    _run.info[i].pop(n % 7, None)
                    _run.log_scalar(f"m{i}", n)
            threads = [threading.Thread(target=change, args=(i,)) for i in range(3)]
            [t.start() for t in threads]
            stop.wait(0.7)
            stop.set()
            [t.join() for t in threads]
            _run.info["last"] = True
            return [len(_run.info[i]) for i in range(3)]
        """,
        "-F", "runs", "-b", "0.005",
    )  # fmt: skip
    assert "failed" not in done.err and "Exception" not in done.err, done.err
    files = done.run()
    assert files.info["last"] is True
    assert [len(files.info[str(i)]) for i in range(3)] == files.run["result"]
    for i in range(3):
        values = files.metrics[f"m{i}"]["values"]
        assert values == list(range(1, len(values) + 1))


def test_log_scalar_counts_steps_and_refuses_what_is_no_number(ex):
    observer = Recorder()
    ex.observers.append(observer)

    @ex.main
    def main(_run):
        ex.log_scalar("a", 1)
        ex.log_scalar("a", 2.5, step=10)
        _run.log_scalar("a", 3)
        _run.log_scalar("b", float("nan"))
        for wrong in ("1", None, [1], 1j):
            with pytest.raises(TypeError, match="metric 'a'.*single int or float"):
                _run.log_scalar("a", wrong)
        with pytest.raises(TypeError):
            _run.log_scalar(5, 1)

    ex.run()
    metrics = dict(observer.events)["log_metrics"]["metrics_by_name"]
    assert metrics["a"]["steps"] == [0, 10, 11] and metrics["a"]["values"] == [1, 2.5, 3]
    assert metrics["b"]["steps"] == [0]


def test_numpy_scalars_are_measurements(ex):
    numpy = pytest.importorskip("numpy", reason="pip install numpy")
    observer = Recorder()
    ex.observers.append(observer)

    @ex.main
    def main(_run):
        _run.log_scalar("a", numpy.float32(0.5), step=numpy.int64(3))
        _run.log_scalar("a", numpy.array([2]))
        with pytest.raises(TypeError):
            _run.log_scalar("a", numpy.array([1, 2]))

    ex.run()
    metric = dict(observer.events)["log_metrics"]["metrics_by_name"]["a"]
    assert (metric["steps"], metric["values"]) == ([3, 4], [0.5, 2])
    assert {type(v) for v in (*metric["steps"], *metric["values"])} == {int, float}


@POSIX
def test_many_runs_leave_nothing_behind(place):
    temporary = place.path / "tmp"
    temporary.mkdir()
    done = place(
        """
        import os, subprocess, tempfile, threading, logging
        logging.getLogger("exp").setLevel("ERROR")

        @ex.main
        def main(_run):
            print("x")

        def state():
            return (len(os.listdir("/proc/self/fd")), threading.active_count(),
                    len(os.listdir(tempfile.gettempdir())))

        class Quiet(RunObserver):
            pass

        before = state()
        ex.observers.append(FileStorageObserver("runs"))
        for i in range(30):
            ex.run()
        ex.observers[:] = [Quiet()]
        for i in range(30):
            ex.run()
        ex.observers.clear()
        ex.run()
        import gc; gc.collect()
        assert state() == before, (before, state())
        children = open(f"/proc/self/task/{os.getpid()}/children").read()
        assert not children, children
        """,
        script={"footer": ""}, timeout=120, env={"TMPDIR": str(temporary)},
    )  # fmt: skip
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "code, status, exit_code",
    [("0", "COMPLETED", 0), ("False", "COMPLETED", 0), ("None", "COMPLETED", 0),
     ("0.0", "FAILED", 1), ("'no'", "FAILED", 1), ("Evil()", "FAILED", 1)],
)  # fmt: skip
def test_what_is_given_to_sys_exit_decides_the_status(place, code, status, exit_code):
    done = place(
        f"""
        import sys
        class Evil:
            def __eq__(self, other):
                raise ValueError
            __hash__ = None
        @ex.main
        def main():
            sys.exit({code})
        """,
        "-F", "runs",
    )  # fmt: skip
    assert (done.run().run["status"], done.code) == (status, exit_code), done.err


def test_result_that_fails_all_questions_is_recorded(place):
    done = place(
        """
        class Meta(type):
            __name__ = property(lambda self: 1 / 0)
        class Text(str):
            def __len__(self):
                raise ValueError
        class Evil(metaclass=Meta):
            def __repr__(self):
                return Text("evil")
        @ex.main
        def main():
            return Evil()
        """,
        "-F", "runs",
    )  # fmt: skip
    assert (done.run().run["status"], done.run().run["result"]) == ("COMPLETED", "evil"), done.err


def test_long_chains_of_exceptions_are_recorded_whole(place):
    done = place(
        """
        @ex.main
        def main():
            error = None
            for i in range(1500):
                try:
                    raise ValueError(f"number {i}") from error
                except ValueError as caught:
                    error = caught
            raise error
        """,
        "-F", "runs",
    )  # fmt: skip
    trace = "".join(done.run().run["fail_trace"])
    assert "number 1499\n" in trace and "minisacred.py" not in trace
    if sys.version_info >= (3, 10):  # before, Python itself leaves out what is that deep
        assert "number 0\n" in trace


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_another_signal_soon_after_the_first_is_no_repetition(place):
    done = place(
        """
        import os, signal, time
        @ex.main
        def main():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
            except KeyboardInterrupt:
                pass  # finishes its epoch
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.run().run["status"] == "INTERRUPTED" and done.code == -15


#: A handler that raises, and a run whose `Late` is reported.
LATE = """
import os, signal, time

class Late(Exception):
    pass

def on_alarm(*_):
    raise Late

def run():
    signal.signal(signal.SIGALRM, on_alarm)
    ex.main(lambda: None)
    try:
        ex.run()
    except Late:
        print("late")
"""


def test_handler_of_the_program_interrupts_an_observer_that_hangs_at_the_start(place):
    hanging = """
class Hanging(RunObserver):
    def started_event(self, **arguments):
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        time.sleep(60)

ex.observers += [Hanging(), FileStorageObserver("runs")]
run()
"""
    done = place(LATE + hanging, script={"footer": ""})
    assert done.code == 0 and done.out == "late\n", done.err


def test_each_handler_that_waited_is_called(place):
    busy = """
class Busy(RunObserver):
    def completed_event(self, **arguments):
        os.kill(os.getpid(), signal.SIGALRM)
        os.kill(os.getpid(), signal.SIGUSR1)

signal.signal(signal.SIGUSR1, lambda *_: print("usr1"))
ex.observers.append(Busy())
run()
"""
    done = place(LATE + busy, script={"footer": ""})
    assert done.code == 0 and done.out == "usr1\nlate\n", done.err


def test_fork_while_handlers_wait_has_them_back(place):
    done = place(
        """
        import os, signal, time

        def filter(text):
            child = os.fork()
            if not child:
                time.sleep(30)
                os._exit(0)
            time.sleep(0.2)
            os.kill(child, signal.SIGUSR1)
            print("code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            return text

        signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
        ex.captured_out_filter = filter
        ex.main(lambda: None)
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.code == 0 and done.out == "code 7\n", done.err


def test_failure_of_a_coroutine_is_the_only_exception_recorded(place):
    done = place(
        """
        import sys

        @ex.main
        async def main():
            assert sys.exc_info() == (None, None, None)
            raise ValueError("oops")
        """,
        "-F", "runs",
    )  # fmt: skip
    trace = "".join(done.run().run["fail_trace"])
    assert trace.count("Traceback") == 1 and "During handling" not in trace
    assert trace.endswith("ValueError: oops\n")


@pytest.mark.parametrize(
    "error",
    [
        minisacred.ConfigAddedError("lr", {"rate"}),
        minisacred._ScopeError("has a yield", (lambda: 0).__code__, 3),
        minisacred.MissingConfigError("set the path", "path"),
        minisacred.SettingError("no setting"),
        minisacred.SacredError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_back_from_pools_of_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_interrupt_of_another_copy_of_the_module_is_one(place):
    (place.path / "copy.py").write_text((ROOT / "minisacred.py").read_text())
    done = place(
        """
        import importlib.util
        spec = importlib.util.spec_from_file_location("ms2", "copy.py")
        other = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(other)

        @ex.main
        def main():
            raise other.TimeoutInterrupt("enough")
        """,
        "-F", "runs",
    )  # fmt: skip
    assert (done.code, done.run().run["status"]) == (1, "TIMEOUT") and "Traceback" not in done.err


def test_copies_of_the_module_do_not_run_at_once_in_threads(place):
    (place.path / "ms2.py").write_text((ROOT / "minisacred.py").read_text())
    done = place(
        """
        import threading
        import ms2
        other = ms2.Experiment("other")
        other.main(lambda: 2)

        @ex.main
        def main():
            def run():
                try:
                    other.run()
                except ms2.SacredError as error:
                    print(str(error)[:14])
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            print(other.run().result)
        """
    )
    assert done.out == "another thread\n2\n", done.err


def test_measurement_after_the_end_is_warned_of(place):
    done = place(
        """
        @ex.main
        def main():
            pass

        run = ex.run()
        run.log_scalar("late", 1.0)
        """,
        script={"footer": ""},
    )
    assert "a measurement of 'late' is left out: the run has ended" in done.err


def test_heartbeats_go_on_while_measurements_come_faster_than_they_are_taken(place):
    """A beat takes what there is when it begins, and no more."""
    done = place(
        """
        import time

        class Slow(RunObserver):
            beats = 0
            def log_metrics(self, metrics_by_name, info):
                time.sleep(0.02)
            def heartbeat_event(self, **state):
                Slow.beats += 1

        ex.observers.append(Slow())

        @ex.main
        def main(_run):
            begun = time.monotonic()
            while time.monotonic() < begun + 1:
                _run.log_scalar("loss", 0.5)
                time.sleep(0.0005)
            print(Slow.beats > 3)
        """,
        "-b", "0.05", "-C", "no",
    )  # fmt: skip
    assert done.out == "True\n", done.err


def test_measurements_that_another_observer_has_taken_are_dropped_once():
    from minisacred import _Metrics

    metrics = _Metrics()
    for value in range(1000):
        metrics.log("m", float(value), 1.0, None)
    assert metrics.end() == 1000
    metrics.drop(200)
    metrics.drop(100)  # by a thread that has found this out before the other
    for value in range(1000, 1100):
        metrics.log("m", float(value), 1.0, None)
    taken, position = metrics.since(200)
    assert position == 1100 and taken["m"]["steps"] == list(range(200, 1100))
    assert taken["m"]["values"] == list(map(float, range(200, 1100)))


def test_observers_that_beat_at_once_get_every_measurement(place):
    done = place(
        """
        import sys

        class Counting(RunObserver):
            def __init__(self):
                self.steps = []
            def log_metrics(self, metrics_by_name, info):
                self.steps += metrics_by_name["m"]["steps"]

        ex.observers += [Counting() for _ in range(5)]
        sys.setswitchinterval(1e-5)

        @ex.main
        def main(_run):
            for _ in range(60_000):
                _run.log_scalar("m", 0.5)

        ex.run(options={"--beat-interval": 0.002, "--capture": "no"})
        for observer in ex.observers:
            print(observer.steps == list(range(60_000)))
        """,
        script={"footer": ""},
    )
    assert done.out == "True\n" * 5, done.err
