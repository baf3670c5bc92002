"""Captured output: whatever the program and its children print, and nothing lost."""

import io
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from minisacred import Experiment, FileStorageObserver, RunObserver, apply_backspaces_and_linefeeds

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors are captured on POSIX only")

LINUX = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into Linux's /proc")


def wait_for(condition, seconds=20):
    """Return what a condition returns as soon as that is true, or at the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def printed(text):
    """Return the lines that are not from the log."""
    return [line for line in text.splitlines() if " - exp - " not in line]


# -- modes -------------------------------------------------------------------------------

EVERYTHING = """
import ctypes, os, subprocess, sys

@ex.main
def main():
    print("from python")
    print("to stderr", file=sys.stderr)
    sys.stdout.flush()
    os.write(1, b"from a system call\\n")
    ctypes.CDLL(None).puts(b"from C")
    subprocess.run(["sh", "-c", "echo from a child; echo child error >&2"])
"""


PYTHON, OTHERS = {"from python", "to stderr"}, {"from a system call", "from C", "from a child"}


@pytest.mark.parametrize(
    "mode, stored", [("fd", PYTHON | OTHERS | {"child error"}), ("sys", PYTHON), ("no", set())]
)
def test_mode_says_what_is_stored_and_all_reaches_the_terminal(place, mode, stored):
    """All that is written in mode fd, what Python prints in mode sys, nothing in mode no."""
    done = place(EVERYTHING, "-F", "runs", "-C", mode, preexec_fn=lambda: os.close(0))  # as by <&-
    assert set(printed(done.run().cout)) == stored
    assert set(done.out.splitlines()) == {"from python", *OTHERS}
    assert set(printed(done.err)) == {"to stderr", "child error"}


MODE = "@ex.main\ndef main(_run):\n    return _run.capture_mode\n"


@pytest.mark.parametrize(
    "before, words, mode",
    [
        ("", [], "fd"),
        ("SETTINGS.CAPTURE_MODE = 'sys'", [], "sys"),
        ("SETTINGS.CAPTURE_MODE = 'sys'", ["-C", "fd"], "fd"),
        ("import io, sys; sys.stdout = io.StringIO()", [], "sys"),
    ],
)
def test_mode_is_that_of_option_setting_or_process(place, before, words, mode):
    done = place(f"{before}\n{MODE}", "-F", "runs", *words)
    assert done.run().run["result"] == mode


def test_mode_is_sys_under_pytest_and_no_without_observers(ex, tmp_path):
    ex.main(lambda _run: _run.capture_mode)
    assert ex.run().result == "no"
    ex.observers.append(FileStorageObserver(tmp_path))
    assert ex.run().result == "sys"


# -- nothing is lost ---------------------------------------------------------------------


def test_output_reaches_the_terminal_as_it_is_written(place):
    place.write("@ex.main\ndef main():\n    print('before', flush=True)\n    open('go').read()\n")
    os.mkfifo(place.path / "go")
    process = place.start("exp.py", "-F", "runs")
    assert process.stdout.readline() == "before\n"  # while the run goes on
    assert wait_for(lambda: "before\n" in place.run().cout)
    (place.path / "go").write_text("go")
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "mode, write",
    [("fd", "os.write(1, b'line %d\\n' % i)"), ("sys", "print('line', i, flush=True)")],
)
def test_what_was_written_before_a_kill_is_stored(place, mode, write):
    place.write(
        f"""
        import os, signal

        @ex.main
        def main():
            for i in range(1000):
                {write}
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    done = place.python("exp.py", "-F", "runs", "-C", mode, "-l", "ERROR")
    expected = "".join(f"line {i}\n" for i in range(1000))
    assert done.code == -signal.SIGKILL
    assert wait_for(lambda: place.run().cout == expected)


def test_large_write_of_c_code_that_holds_the_gil_is_no_deadlock(place):
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
    assert done.code == 0 and done.out.count("y") == done.run().cout.count("y") == 4 << 20


@LINUX
@pytest.mark.parametrize("mode", ["fd", "sys"])
def test_memory_does_not_grow_with_the_output(place, mode):
    """After 60 MB of output the process has at most 20 MB more."""
    done = place(
        """
        import resource, sys

        @ex.main
        def main():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            line = "x" * 65535 + "\\n"
            for i in range(60 * 16):
                sys.stdout.write(line)
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        """,
        "-F", "runs", "-C", mode, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.run().run["result"] < 20 << 10  # kilobytes
    assert (done.run().path / "cout.txt").stat().st_size >= 60 << 20


def test_order_is_that_of_writing_where_both_streams_go_to_one_place(place):
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
    assert printed(done.run().cout) == printed(done.out) == [str(i) for i in range(2000)]


@pytest.mark.parametrize("mode", ["fd", "sys"])
def test_order_within_a_stream_is_exact(place, mode):
    """Numbers go to stdout, letters to stderr, so that each is found among the others."""
    done = place(
        """
        import sys

        @ex.main
        def main():
            for i in range(2000):
                print(i, end=",")
                print("abcdefghij"[i % 10], end="", file=sys.stderr)
        """,
        "-F", "runs", "-C", mode, "-l", "ERROR",
    )  # fmt: skip
    text = done.run().cout
    assert "".join(c for c in text if c in "0123456789,") == "".join(f"{i}," for i in range(2000))
    assert "".join(c for c in text if c in "abcdefghij") == "abcdefghij" * 200


def test_undecodable_bytes_are_replaced_where_text_is_read(ex, tmp_path):
    ex.observers.append(FileStorageObserver(tmp_path))
    ex.main(lambda: sys.stdout.buffer.write(b"\xff bytes\n"))
    run = ex.run()
    assert run.status == "COMPLETED" and "\ufffd bytes\n" in run.captured_out


def test_captured_out_is_up_to_date_and_kept_and_what_custom_observers_get(ex):
    class Reader(RunObserver):
        def heartbeat_event(self, info, captured_out, beat_time, result):
            self.text = captured_out

    ex.observers.append(Reader())
    ex.main(lambda _run: [print("something"), _run.captured_out][1])
    run = ex.run()
    assert run.result == run.captured_out == ex.observers[0].text == "something\n"


# -- a full disk -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fd", "sys"])
def test_full_disk_never_reaches_the_program_and_the_log_says_so_at_the_end(place, mode):
    """No file may get longer than 20,000 bytes: a full disk that needs no rights."""
    done = place(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

        @ex.main
        def main():
            for i in range(10_000):
                print("line", i)
        """,
        "-F", "runs", "-C", mode,
    )  # fmt: skip
    assert done.code == 0 and done.out == "".join(f"line {i}\n" for i in range(10_000))
    assert done.run().run["status"] == "COMPLETED"
    assert len(done.run().cout) <= 20_000
    assert [line for line in done.err.splitlines() if " - exp - " in line and "cout.txt" in line]


# -- children ----------------------------------------------------------------------------


def test_child_that_outlives_the_run_delays_its_end_little_and_is_recorded(place):
    """The child ends only when the run has ended, so that the run cannot wait for it."""
    os.mkfifo(place.path / "go")
    with open(place.path / "terminal", "w") as terminal:
        done = place(
            """
            import subprocess

            @ex.main
            def main():
                subprocess.Popen(["sh", "-c", "echo child; read x < go; echo late"])
            """,
            "-F", "runs", stdout=terminal, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    assert done.code == 0 and done.run().run["status"] == "COMPLETED"
    (place.path / "go").write_text("go\n")
    assert wait_for(lambda: printed(done.run().cout) == ["child", "late"])
    assert wait_for(lambda: (place.path / "terminal").read_text() == "child\nlate\n")


# -- as before afterwards ----------------------------------------------------------------


@LINUX
@pytest.mark.parametrize("mode", ["fd", "sys"])
def test_descriptors_streams_and_children_are_as_before_after_any_run(place, mode):
    done = place(
        """
        import io, os, pathlib, sys, threading

        def state():
            links = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in "012"}
            children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text()
            return links, len(os.listdir("/proc/self/fd")), children, sys.stdout, sys.stderr

        inner = Experiment("inner")
        inner.main(lambda: print("inside"))

        @ex.main
        def main(how=None):
            if how == "replace":
                sys.stdout = io.StringIO()
            if how == "fail":
                raise ValueError
            if how == "nest":
                inner.run(options={"capture": MODE})

        ex.observers.append(FileStorageObserver("runs"))
        inner.observers.append(FileStorageObserver("runs"))
        before = state()
        for how in (None, "fail", "nest", "replace"):
            try:
                ex.run(config_updates={"how": how}, options={"capture": MODE})
            except ValueError:
                pass
            assert state() == before, (how, before, state())
        print("after")
        """.replace("MODE", repr(mode)),
        script={"footer": ""},
    )
    assert done.out == "inside\nafter\n", done.err


def test_runs_leave_no_threads_and_no_temporary_files_behind(place):
    (place.path / "tmp").mkdir()
    done = place(
        """
        import gc, os, tempfile, threading, time
        ex.main(lambda: print("x"))
        for observers in ([FileStorageObserver("runs")], [RunObserver()], []):
            ex.observers[:] = observers
            ex.run()
        gc.collect()
        deadline = time.monotonic() + 10
        while threading.active_count() > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        print(threading.active_count(), os.listdir(tempfile.gettempdir()))
        """,
        script={"footer": ""},
        env={"TMPDIR": str(place.path / "tmp")},
    )
    assert done.out.endswith("\n1 []\n"), done.err


def test_nested_runs_each_have_their_output(ex, tmp_path):
    observer = FileStorageObserver(tmp_path)
    inner = Experiment("inner", save_git_info=False)
    inner.main(lambda: print("inside"))
    ex.main(lambda: [print("before"), inner.run(), print("after")][1].captured_out)
    ex.observers.append(observer)
    inner.observers.append(observer)
    run = ex.run()
    assert run.captured_out == "before\ninside\nafter\n" and run.result == "inside\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_isatty_is_that_of_the_real_stream_in_sys_mode(ex, tmp_path, monkeypatch, is_terminal):
    class Stream(io.StringIO):
        def isatty(self):
            return is_terminal

    ex.observers.append(FileStorageObserver(tmp_path))
    ex.main(lambda: sys.stdout.isatty())
    monkeypatch.setattr(sys, "stdout", Stream())
    assert ex.run(options={"capture": "sys"}).result is is_terminal


# -- filter ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fd", "sys"])
def test_filter_is_applied_to_the_whole_text_at_the_end(place, mode):
    done = place(
        """
        import pathlib

        ex.captured_out_filter = lambda text: f"<{text}>".upper()

        @ex.main
        def main(_run):
            print("line")
            assert "line\\n" in _run.captured_out
            assert "line\\n" in pathlib.Path(_run.dir, "cout.txt").read_text()

        run = ex.run_commandline()
        assert run.captured_out == pathlib.Path(run.dir, "cout.txt").read_text()
        """,
        "-F", "runs", "-C", mode, script={"footer": ""},
    )  # fmt: skip
    assert done.code == 0 and done.out == "line\n", done.err
    assert done.run().cout.startswith("<") and done.run().cout.endswith(">")
    assert "LINE\n" in done.run().cout


@pytest.mark.parametrize("function", [lambda text: text.wrong, len])
def test_filter_that_fails_leaves_the_raw_text_and_a_warning(ex, tmp_path, caplog, function):
    ex.observers.append(FileStorageObserver(tmp_path))
    ex.captured_out_filter = function
    ex.main(lambda: print("raw"))
    run = ex.run()
    assert run.status == "COMPLETED" and "raw\n" in run.captured_out
    assert "raw\n" in pathlib.Path(run.dir, "cout.txt").read_text()
    assert [r for r in caplog.records if r.levelname == "WARNING" and "filter" in r.message]


@pytest.mark.parametrize(
    "text, shown",
    [
        ("", ""), ("a\rb", "b"), ("abc\rx", "xbc"), ("ab\b\bX", "Xb"), ("\b\bok", "ok"),
        ("a\r\nb", "a\nb"), ("10%\r20%\r\n", "20%\n"), ("a\n\b", "a\n"), ("abc\r", "abc"),
        ("x\b", "x"), ("100\b\b\b 99", " 99"),
    ],
)  # fmt: skip
def test_backspaces_and_linefeeds_do_what_a_terminal_does(text, shown):
    assert apply_backspaces_and_linefeeds(text) == shown


def test_backspaces_and_linefeeds_take_linear_time():
    text = "\r50%" * 200_000 + "\b" * 100_000 + "x" * 100_000
    assert apply_backspaces_and_linefeeds(text) == "x" * 100_000
