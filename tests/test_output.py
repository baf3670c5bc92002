"""Captured output: whatever the program and its children print, and nothing lost."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from helpers import environment

from minisacred import apply_backspaces_and_linefeeds

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors are captured on POSIX only")


def user_lines(text):
    """Return the lines that are not from the log."""
    return [line for line in text.splitlines() if " - exp - " not in line]


def test_fd_captures_python_c_and_children(place):
    done = place(
        """
        import ctypes, os, subprocess, sys

        @ex.main
        def main():
            print("from python")
            print("to stderr", file=sys.stderr)
            sys.stdout.flush()
            os.write(1, b"from a system call\\n")
            ctypes.CDLL(None).puts(b"from C")
            subprocess.run(["sh", "-c", "echo from a child; echo child error >&2"])
        """,
        "-F", "runs",
    )  # fmt: skip
    expected = {"from python", "to stderr", "from a system call", "from C", "from a child",
                "child error"}  # fmt: skip
    assert set(user_lines(done.run().cout)) == expected
    assert expected - {"to stderr", "child error"} == set(done.out.splitlines())
    assert {"to stderr", "child error"} == set(user_lines(done.err))


def test_order_is_exact_when_stdout_and_stderr_are_one_file(place):
    done = place(
        """
        import os

        @ex.main
        def main():
            for i in range(2000):
                os.write(1 + i % 2, b"%d\\n" % i)
        """,
        "-F", "runs", stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert user_lines(done.run().cout) == [str(i) for i in range(2000)]
    assert user_lines(done.out) == [str(i) for i in range(2000)]


@pytest.mark.parametrize("mode", ["fd", "sys"])
def test_much_output_arrives_whole_in_little_memory(place, mode):
    done = place(
        """
        import resource, sys

        @ex.main
        def main():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            line = "x" * 1023 + "\\n"
            for i in range(100 * 1024):
                sys.stdout.write(line)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 20 * 1024, grown
        """,
        "-F", "runs", "-C", mode, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.code == 0
    assert (done.run().path / "cout.txt").stat().st_size >= 100 * 1024 * 1024


def test_large_write_in_c_with_the_gil_held(place):
    done = place(
        """
        import ctypes

        @ex.main
        def main():
            data = b"y" * (4 << 20)
            assert ctypes.PyDLL(None).write(1, data, len(data)) == len(data)
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.code == 0 and done.out.count("y") == 4 << 20
    assert done.run().cout.count("y") == 4 << 20


def test_output_written_before_a_kill_is_kept(place):
    place.write(
        """
        import os, signal

        @ex.main
        def main():
            for i in range(1000):
                os.write(1, b"line %d\\n" % i)
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    done = place.python("exp.py", "-F", "runs")
    assert done.code == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while "line 999\n" not in place.run().cout and time.monotonic() < deadline:
        time.sleep(0.01)
    lines = user_lines(place.run().cout)
    assert [line for line in lines if line.startswith("line ")] == [
        f"line {i}" for i in range(1000)
    ]


def test_sys_mode_keeps_order_and_captures_old_handlers_and_bytes(place):
    done = place(
        """
        import logging, sys
        logging.basicConfig(format="%(message)s")   # holds the stderr of now

        @ex.main
        def main():
            print("one", flush=True)
            logging.getLogger("lib").warning("two")
            sys.stdout.buffer.write(b"three\\n")
            sys.stdout.buffer.flush()
            sys.stdout.write("four\\n")
            assert not sys.stdout.isatty()
            assert sys.stdout.fileno() == 1
        """,
        "-F", "runs", "-C", "sys",
    )  # fmt: skip
    assert done.code == 0
    lines = user_lines(done.run().cout)
    assert [w for w in lines if w in ("one", "three", "four")] == ["one", "three", "four"]
    assert "two" in lines
    assert user_lines(done.out) == ["one", "three", "four"]


@pytest.mark.parametrize("mode", ["fd", "sys"])
def test_streams_and_descriptors_are_as_before_afterwards(place, mode):
    done = place(
        """
        import io, os, sys

        def state():
            links = []
            for fd in os.listdir("/proc/self/fd"):
                try:
                    links.append((fd, os.readlink(f"/proc/self/fd/{fd}")))
                except OSError:
                    pass
            return [link for link in links if "/proc/" not in link[1]], sys.stdout, sys.stderr

        @ex.main
        def main(fail=False):
            sys.stdout = io.StringIO()
            print("lost")
            if fail:
                raise ValueError

        before = state()
        ex.observers.append(FileStorageObserver("runs"))
        for fail in (False, True, False):
            try:
                ex.run(config_updates={"fail": fail}, options={"capture": MODE})
            except ValueError:
                pass
            assert state() == before, (before, state())
        print("after")
        """.replace("MODE", repr(mode)),
        script={"footer": ""},
    )
    assert done.out == "after\n", done.err
    assert not subprocess.run(["pgrep", "-f", str(place.path)], capture_output=True).stdout


def test_nested_runs_each_capture_their_output(place):
    done = place(
        """
        inner = Experiment("inner")

        @inner.main
        def inner_main():
            print("inside")

        @ex.main
        def main():
            print("before", flush=True)
            inner.run()
            print("after", flush=True)

        observer = FileStorageObserver("runs")
        ex.observers.append(observer)
        inner.observers.append(observer)
        """
    )
    assert [w for w in user_lines(done.run("1").cout) if " - " not in w] == [
        "before", "inside", "after"]  # fmt: skip
    assert "inside" in user_lines(done.run("2").cout)
    assert not {"before", "after"} & set(user_lines(done.run("2").cout))
    assert done.run("1").run["status"] == done.run("2").run["status"] == "COMPLETED"


def test_background_child_does_not_delay_the_end_and_is_still_recorded(place):
    start = time.monotonic()
    done = place(
        """
        import subprocess

        @ex.main
        def main():
            subprocess.Popen(["sh", "-c", "echo child; sleep 4; echo late"])
        """,
        "-F", "runs", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert time.monotonic() - start < 3
    assert done.run().run["status"] == "COMPLETED"
    deadline = time.monotonic() + 15
    while "late" not in done.run().cout and time.monotonic() < deadline:
        time.sleep(0.05)
    assert user_lines(done.run().cout) == ["child", "late"]


def test_undecodable_bytes_are_replaced_in_what_is_read(place):
    done = place(
        """
        import os

        @ex.main
        def main(_run):
            os.write(1, b"\\xff\\xfe bytes\\n")
            assert "bytes" in _run.captured_out
        """,
        "-F", "runs", stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.code == 0
    assert b"\xff\xfe bytes\n" in (done.run().path / "cout.txt").read_bytes()


def test_captured_out_is_up_to_date_in_the_run_and_kept_after_it(place):
    done = place(
        """
        @ex.main
        def main(_run):
            print("something")
            assert "something" in _run.captured_out

        class Quiet(RunObserver):
            pass

        ex.observers.append(Quiet())
        run = ex.run()
        assert "something" in run.captured_out
        """,
        script={"footer": ""},
    )
    assert done.code == 0, done.err


def test_filter_is_applied_to_the_whole_text_at_the_end(place):
    done = place(
        """
        ex.captured_out_filter = apply_backspaces_and_linefeeds

        @ex.main
        def main(_run):
            for i in range(101):
                print(f"\\r{i:3} %", end="", flush=True)
            print()
            assert "50 %" in _run.captured_out
        """,
        "-F", "runs",
    )  # fmt: skip
    assert user_lines(done.run().cout) == ["100 %"]
    assert "50 %" in done.out


def test_filter_that_fails_leaves_the_raw_text_and_a_warning(place):
    done = place(
        """
        @ex.main
        def main():
            print("raw")

        ex.captured_out_filter = lambda text: text.wrong
        """,
        "-F", "runs",
    )  # fmt: skip
    assert done.code == 0 and "raw" in done.run().cout
    assert "captured_out_filter failed" in done.err


def test_no_capture_when_asked_for(place):
    done = place("@ex.main\ndef main():\n    print('x')\n", "-F", "runs", "-C", "no")
    assert done.out == "x\n" and done.run().cout == ""


def test_wrong_mode_is_an_error_and_records_nothing(place):
    done = place("@ex.main\ndef main():\n    print('x')\n", "-F", "runs", "-C", "fb")
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("exp.py: error: ") and "'fb'" in done.err
    assert not (place.path / "runs").exists()


def test_closed_terminal_does_not_cost_the_record(place):
    path = place.write(
        """
        @ex.main
        def main():
            for i in range(20000):
                print("line", i)
        """
    )
    subprocess.run(
        f"{sys.executable} {path.name} -F runs 2>/dev/null | head -n 1",
        shell=True, cwd=place.path, env=environment(), capture_output=True,
    )  # fmt: skip
    deadline = time.monotonic() + 10
    while place.run().run["status"] == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "line 19999\n" in place.run().cout


def test_missing_stdout_is_survived(place):
    place.write("@ex.main\ndef main():\n    return 5\n")
    subprocess.run(
        f'"{sys.executable}" exp.py -F runs >&- 2>&-', shell=True, cwd=place.path, check=True,
        env=environment(),
    )  # fmt: skip
    assert place.run().run["result"] == 5


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_children_are_captured_and_leave_the_status_alone(place, method):
    done = place(
        """
        import multiprocessing

        def work(i):
            print("worker", i, flush=True)

        @ex.main
        def main():
            context = multiprocessing.get_context(METHOD)
            for i in range(3):
                process = context.Process(target=work, args=(i,))
                process.start()
                process.join()
        """.replace("METHOD", repr(method)),
        "-F", "runs",
    )  # fmt: skip
    assert [w for w in user_lines(done.run().cout) if "worker" in w] == [
        "worker 0", "worker 1", "worker 2"]  # fmt: skip
    assert done.run().run["status"] == "COMPLETED"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a\rb", "b"), ("abc\rx", "xbc"), ("ab\b\bX", "Xb"), ("\b\bok", "ok"), ("a\r\nb", "a\nb"),
        ("10%\r20%\r\n", "20%\n"), ("", ""), ("a\n\b", "a\n"), ("abc\r", "abc"), ("x\b", "x"),
    ],
)  # fmt: skip
def test_backspaces_and_linefeeds(text, shown):
    assert apply_backspaces_and_linefeeds(text) == shown


def test_backspaces_and_linefeeds_takes_linear_time():
    text = "\r50%" * 200_000 + "\b" * 100_000 + "x" * 100_000
    assert apply_backspaces_and_linefeeds(text) == "x" * 100_000
    assert re.fullmatch("x+", apply_backspaces_and_linefeeds("\b" * 10 + "x" * 5))


def test_program_that_waits_for_any_child_gets_its_own(place):
    done = place(
        """
        import os, time
        @ex.main
        def main():
            time.sleep(0.2)
            pids = set()
            for i in range(3):
                pid = os.fork()
                if not pid:
                    time.sleep(0.1)
                    os._exit(0)
                pids.add(pid)
            for _ in range(3):
                pids.remove(os.wait()[0])
        """,
        "-F", "runs", timeout=20,
    )  # fmt: skip
    assert done.code == 0, done.err


def test_descriptor_that_the_program_inherits_is_no_source_of_output(place):
    place.write("ex.main(lambda: print('printed'))")
    (place.path / "other").write_text("other text\n")
    command = f"{sys.executable} exp.py -F runs 3<other 2>&1 | cat"
    for line in (command, command.replace("3<other", "3>&1")):
        done = subprocess.run(
            line, shell=True, cwd=place.path, env=environment(), timeout=20, capture_output=True
        )
        assert b"printed\n" in done.stdout and b"other text" not in done.stdout


def test_answer_that_comes_too_late_is_not_taken_for_another(place):
    """The reader of the output pauses, so that a question about the output is given up."""
    place.write(
        """
        import sys, time
        def write(text):
            sys.stdout.write(text * 100_000 + "\\n")
            sys.stdout.flush()
        @ex.main
        def main(_run):
            write("x")
            _run.captured_out  # given up after 2 s, for the pipe is full
            time.sleep(2)
            write("y")
            write("z")
            print("END")
        ex.captured_out_filter = str.upper
        """,
        footer="run = ex.run_commandline()\nopen('said', 'w').write(run.captured_out)\n",
    )
    process = place.start("exp.py", "-F", "runs", stderr=subprocess.DEVNULL)
    time.sleep(3.5)
    process.communicate(timeout=30)
    cout = (place.path / "runs" / "1" / "cout.txt").read_text()
    assert cout.isupper() and all(cout.count(c) >= 100_000 for c in "XYZ") and "END\n" in cout
    assert (place.path / "said").read_text() == cout


def test_daemon_that_the_run_leaves_behind_does_not_hold_its_output(place):
    place.write(
        """
        import os, time
        @ex.main
        def main():
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    for fd in (0, 1, 2):
                        os.dup2(os.open(os.devnull, os.O_RDWR), fd)
                    time.sleep(20)
                os._exit(0)
            print("started it")
        """
    )
    process = place.start("exp.py", "-F", "runs", stderr=subprocess.DEVNULL)
    out, _ = process.communicate(timeout=10)  # reads until nobody can write any more
    assert "started it" in out


def test_sys_mode_stores_at_once_what_an_unbuffered_stream_passes_on(place):
    done = place(
        """
        import os, sys
        @ex.main
        def main():
            print("line one")
            print("line two", file=sys.stderr)
            os.kill(os.getpid(), 9)
        """,
        "-C", "sys", "-F", "runs", env={"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert "line one\n" in done.run().cout and "line two\n" in done.run().cout


def test_file_that_takes_the_number_of_a_closed_one_is_left_alone(place):
    done = place(
        """
        import os
        @ex.main
        def main():
            print("before")
            os.closerange(3, 256)
            files = [open(f"data{i}", "wb") for i in range(20)]
            print("after")
            return [os.path.getsize(file.name) for file in files]
        """,
        "-C", "sys", "-F", "runs",
    )  # fmt: skip
    assert done.code == 0 and done.run().run["result"] == [0] * 20
    assert "before\nafter\n" in done.run().cout


def test_order_is_kept_where_stdout_is_no_file(place):
    done = place(
        """
        import contextlib, io
        ex.observers.append(FileStorageObserver("runs"))

        @ex.main
        def main(_log):
            print("one"); _log.info("two"); print("three"); _log.info("four")

        with contextlib.redirect_stdout(io.StringIO()):
            ex.run()
        """,
        script={"footer": ""},
    )
    assert done.code == 0, done.err
    lines = done.run().cout.splitlines()[:-1]
    assert [line.split()[-1] for line in lines[-4:]] == ["one", "two", "three", "four"]


@pytest.mark.parametrize(
    "body",
    ["sys.stdout.reconfigure(line_buffering=True); print('shown')", "print('\\u6f22' * 2800)"],
)
def test_what_the_stream_has_flushed_is_stored_in_sys_mode(place, body):
    """All that a pipe has got is in cout.txt, too, when the process is killed."""
    done = place(
        f"""
        import os, signal, sys

        @ex.main
        def main():
            {body}
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        "-C", "sys", "-F", "runs",
        env={"PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.code == -9 and done.out
    assert done.out in done.run().cout


@pytest.mark.parametrize(
    "how", ["TextIOWrapper(sys.stdout.buffer", "TextIOWrapper(sys.stdout.detach()"]
)
def test_stream_that_main_has_wrapped_prints_after_the_run(place, how):
    done = place(
        f"""
        import io, sys

        @ex.main
        def main():
            sys.stdout = io.{how}, encoding="utf-8", line_buffering=True)
            print("inside")
        """,
        "-C", "fd", "-F", "runs",
        script={"footer": "\n\nex.run_commandline()\nprint('after')\nimport gc; gc.collect()\nprint('end')\n"},
    )  # fmt: skip
    assert (done.code, done.out) == (0, "inside\nafter\nend\n"), done.err
    assert user_lines(done.run().cout) == ["inside"]


def test_child_that_outlives_its_run_never_writes_into_another_one(place):
    """Somebody has removed the runs; another run has the same path."""
    place.write(
        """
        import os, shutil, sys, time
        @ex.main
        def main(old=False):
            if old:
                print("begun", flush=True)
                if os.fork() == 0:
                    os.setsid()
                    while not os.path.exists("go"):
                        time.sleep(0.01)
                    print("from the old run", flush=True)
                    os._exit(0)
        """
    )
    first = place.start(
        "exp.py",
        "with",
        "old=True",
        "-F",
        "runs",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert first.wait(30) == 0
    shutil.rmtree(place.path / "runs")
    assert place.python("exp.py", "-F", "runs").code == 0
    (place.path / "go").touch()
    time.sleep(0.5)
    assert "old run" not in place.run().cout


LOGGER = """
import sys

class Logger:
    def __init__(self, name):
        self.file = open(name, "w")
    def write(self, text):
        return self.file.write(text)
    def flush(self):
        pass

{}

@ex.main
def main():
    {}
    print("hello")
"""


@pytest.mark.parametrize("before", [True, False])
def test_stream_of_a_class_of_the_program_costs_no_run(place, before):
    replace = "sys.stdout = Logger('tee.log')"
    body = LOGGER.format(replace, "pass") if before else LOGGER.format("", replace)
    done = place(body, "-C", "fd", "-F", "runs")
    assert (done.code, done.run().run["status"]) == (0, "COMPLETED"), done.err
    assert (place.path / "tee.log").read_text() == "hello\n"


def test_stream_without_reconfigure_has_none_while_it_is_captured(place):
    done = place(
        """
        import contextlib, io, sys

        @ex.main
        def main():
            return hasattr(sys.stdout, "reconfigure")

        ex.observers.append(FileStorageObserver("runs"))
        with contextlib.redirect_stdout(io.StringIO()):
            print(ex.run().result, file=sys.stderr)
        """,
        script={"footer": ""},
    )
    assert done.err.endswith("False\n")


def test_filter_that_returns_no_text_is_told_of(place):
    done = place("ex.captured_out_filter = len\n@ex.main\ndef main(): print('x')\n", "-F", "runs")
    assert "it must return a text, not int" in done.err and "x\n" in done.run().cout


@pytest.mark.parametrize("streams", ["one", "two"])
def test_runs_in_a_loop_record_all_that_children_print_and_hold_open(place, streams):
    """Each of them may end before its copier has begun, and may have a child that goes on."""
    done = place(
        """
        import os, subprocess

        ex.observers.append(FileStorageObserver("runs"))

        @ex.main
        def main(_run):
            subprocess.run(f"echo out {_run._id}; echo err {_run._id} >&2", shell=True)
            os.write(1, b"bytes\\n")
            if _run._id == "3":
                subprocess.Popen("sleep 0.4; echo late; echo later >&2", shell=True)

        for _ in range(5):
            ex.run()
        """,
        script={"footer": ""},
        stderr=subprocess.STDOUT if streams == "one" else subprocess.PIPE,
    )
    printed = {"out": done.out, "err": done.out if streams == "one" else done.err}
    for number in range(1, 6):
        lines = done.run(str(number)).cout.splitlines()
        late = ["late", "later"] if number == 3 else []
        expected = [f"out {number}", f"err {number}", "bytes", *late]
        assert sorted(line for line in lines if " - " not in line) == sorted(expected)
        assert printed["out"].count(f"out {number}\n") == 1
        assert printed["err"].count(f"err {number}\n") == 1
    assert printed["out"].count("late\n") == 1 and printed["err"].count("later\n") == 1
    assert printed["out"].count("bytes\n") == 5


@pytest.mark.parametrize("mode", ["fd", "sys"])
@pytest.mark.parametrize(
    "wrapped",
    ["io.TextIOWrapper(sys.stdout.detach(), 'utf-8')", "codecs.getwriter('utf-8')(sys.stdout.detach())"],
)  # fmt: skip
def test_stream_around_what_is_detached_is_captured(place, mode, wrapped):
    done = place(
        f"""
        import codecs, io, sys

        @ex.main
        def main():
            print("before")
            sys.stdout = {wrapped}
            print("täxt")
        """,
        "-F", "runs", "-C", mode,
    )  # fmt: skip
    assert done.code == 0 and done.out == "before\ntäxt\n", done.err
    assert "before\ntäxt\n" in done.run().cout and done.run().run["status"] == "COMPLETED"


@pytest.mark.parametrize("mode", ["fd", "sys", "no"])
def test_main_may_delete_a_stream(place, mode):
    done = place(
        """
        import sys

        @ex.main
        def main():
            print("text")
            sys.stdout.flush()
            del sys.stdout
            return 3
        """,
        "-F", "runs", "-C", mode,
    )  # fmt: skip
    assert done.run().run["status"] == "COMPLETED" and done.run().run["result"] == 3, done.err


def test_child_that_prints_on_and_on_does_not_hold_up_the_end(place):
    reader = "import os, time\nwhile os.read(0, 1 << 16): time.sleep(0.05)"
    slow = subprocess.Popen([sys.executable, "-c", reader], stdin=subprocess.PIPE)  # 1.3 MB/s
    place.write(
        """
        import subprocess
        ex.observers.append(FileStorageObserver("runs"))

        @ex.main
        def main():
            subprocess.Popen(["timeout", "5", "yes"])
        """
    )
    begun = time.monotonic()
    done = place.start("exp.py", stdout=slow.stdin)
    slow.stdin.close()
    assert done.wait(30) == 0
    took = time.monotonic() - begun
    done.communicate()
    slow.kill()
    slow.wait()
    assert took < 4, took
