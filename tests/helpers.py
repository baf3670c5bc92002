"""Helpers for tests that run real scripts in processes of their own."""

import atexit
import contextlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time

import pytest

from minisacred import RunObserver

ROOT = pathlib.Path(__file__).resolve().parent.parent

#: Compiled modules: made once for all processes, and not in the directories under test.
CACHE = tempfile.mkdtemp(prefix="tests-of-minisacred-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)

HEADER = """\
from minisacred import *
from minisacred import Experiment, Ingredient, FileStorageObserver, SETTINGS
ex = Experiment("exp")
"""

FOOTER = """

if __name__ == "__main__":
    ex.run_commandline()
"""


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE"))}
    return {**env, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": CACHE, **more}


def transcripts(text):
    """Yield (command, expected lines) for each `$ command` of a docstring."""
    for part in text.split("\n$ ")[1:]:
        command, *expected = part.splitlines()
        yield command, [line for line in expected if line.strip()]


def shell(command, folder):
    """Run a documented command as it stands, with this interpreter as `python`."""
    python = folder / "bin" / "python"
    if not python.exists():
        python.parent.mkdir()
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
    env = environment(PYTHONUNBUFFERED="1", PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}")
    env.pop("PYTHONPATH")
    return subprocess.run(
        command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


def wait_for(condition, seconds=20):
    """Wait until a condition holds, and return what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


@contextlib.contextmanager
def small_disk(folder, size):
    """Mount a file system of that size; skip the test where this is impossible."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if not hasattr(os, "geteuid") or os.geteuid() or subprocess.run(command).returncode:
        pytest.skip("a full disk needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def on_terminal(command, folder, columns=80, **env):
    """Return what a command prints on a terminal of so many columns."""
    pty = pytest.importorskip("pty", reason="needs POSIX terminals")
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    argv = [sys.executable, *map(str, command)]
    streams = {"stdin": subprocess.DEVNULL, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(argv, cwd=folder, env=environment(**env), **streams)
    os.close(theirs)
    data = b""
    with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as terminal:
        while block := terminal.read(65536):  # Linux raises OSError at the end
            data += block
    assert process.wait(60) == 0, data
    return data.decode().replace("\r\n", "\n")


class Recorder(RunObserver):
    """An observer that remembers its events, and can fail at some of them."""

    EVENTS = (
        "queued_event started_event experiment_event heartbeat_event completed_event failed_event "
        "interrupted_event resource_event artifact_event log_metrics join"
    ).split()

    def __init__(self, priority=0, run_id=None, fail_at=()):
        self.priority, self.run_id, self.fail_at = priority, run_id, set(fail_at)
        self.events = []
        for name in self.EVENTS:
            setattr(self, name, lambda event=name, **arguments: self.take(event, arguments))

    def take(self, event, arguments):
        if event in self.fail_at:
            raise OSError(f"{event} fails")
        self.events.append((event, arguments))
        return self.run_id

    @property
    def names(self):
        return [name for name, _ in self.events]


class Finished:
    """What a process left behind."""

    def __init__(self, code, out, err, folder):
        self.code, self.out, self.err, self.folder = code, out, err, folder

    def run(self, name="1"):
        """Return the files of a run directory, the JSON ones parsed (strictly)."""
        return RunFiles(self.folder / "runs" / name)


def strict(text):
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


class RunFiles:
    def __init__(self, path):
        self.path = path

    def __getattr__(self, name):
        """`files.run` is the content of run.json, `files.cout` that of cout.txt, and so on."""
        for suffix, read in ((".json", strict), (".txt", str)):
            path = self.path / (name + suffix)
            if path.exists():
                return read(path.read_bytes().decode("utf-8"))
        raise AttributeError(name)

    @property
    def lines(self):
        return [strict(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]


class Workplace:
    """A directory in which scripts are written and run."""

    def __init__(self, path):
        self.path = path

    def write(self, source, name="exp.py", header=HEADER, footer=FOOTER):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(header + textwrap.dedent(source) + footer, encoding="utf-8")
        return path

    def start(self, *argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=None, **options):
        return subprocess.Popen(
            [sys.executable, *map(str, argv)],
            stdout=stdout,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            cwd=self.path,
            env=environment(**(env or {})),
            text=True,
            **options,
        )

    def python(self, *argv, timeout=60, **options):
        process = self.start(*argv, **options)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            for stream in filter(None, (process.stdout, process.stderr)):
                stream.close()  # a child may hold the other end: do not read on
            raise
        return Finished(process.returncode, out, err, self.path)

    def __call__(self, source, *argv, script={}, **options):
        """Write an experiment (with header and footer) and run it with these arguments."""
        path = self.write(source, **script)
        return self.python(path.relative_to(self.path), *argv, **options)

    def run(self, name="1"):
        return RunFiles(self.path / "runs" / name)
