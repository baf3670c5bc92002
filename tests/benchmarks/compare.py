"""Compare minisacred with Sacred, in one run on one interpreter.

    python tests/benchmarks/compare.py [--repeat N]

Installs Sacred 0.8.7 and minisacred into a temporary environment, runs the two in turn and
prints a table of medians: item, minisacred, Sacred, their ratio, and for whole processes the
ratio to a script that only imports modules of the standard library.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

FLOOR = "import argparse, ast, inspect, json, logging, threading, functools\n"

SCRIPT = """
from {module} import Experiment
ex = Experiment("exp")

@ex.config
def config():
    foo = 1

@ex.automain
def main(foo):
    return foo
"""

CALLS = """
import logging, timeit
from {module} import Experiment
logging.disable()
ex = Experiment("exp")
ex.add_config(a=1)

def plain(a, b, c):
    pass

captured = ex.capture(plain)

@ex.main
def main():
    n = 100_000
    with_fill = min(timeit.repeat(lambda: captured(b=2, c=3), number=n, repeat=5))
    without = min(timeit.repeat(lambda: plain(a=1, b=2, c=3), number=n, repeat=5))
    return (with_fill - without) / n * 1e6

print(ex.run().result)
"""

PRINTS = """
import resource, sys, time
from {module} import Experiment
ex = Experiment("exp")

@ex.automain
def main():
    rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before, start = rss(), time.perf_counter()
    line = "x" * 1023 + "\\n"
    for _ in range(200 * 1024):
        sys.stdout.write(line)
    sys.stdout.flush()
    print((rss() - before) / 1024, time.perf_counter() - start, file=open("result", "w"))
"""


def prepare(folder):
    """Make an environment with Sacred, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, "sacred==0.8.7", "setuptools<81", str(ROOT)], check=True)
    return str(python)


def run(folder, *argv):
    """Run a command; return what it printed, its wall time and its peak memory in MB."""
    out = folder / "out"
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    start = time.perf_counter()
    with open(out, "wb") as file:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            stdout=file,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            env=env,
        )
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, argv
    return out.read_text().strip()[:100], wall, usage.ru_maxrss / 1024


def measure(folder, commands, repeat, value):
    """Run the commands in turn; return the median of `value(result)` for each."""
    results = [[] for _ in commands]
    for number in range(repeat + 1):
        for result, command in zip(results, commands):
            measured = value(run(folder, *command))
            if number:  # the first only warms up
                result.append(measured)
    return [statistics.median(result) for result in results]


def row(item, unit, ours, sacred, floor=None):
    """Print one row of the table."""
    to_floor = f"{ours / floor:.2f}" if floor else "-"
    print(
        f"| {item} | {ours:.3g} {unit} | {sacred:.3g} {unit} | {ours / sacred:.2f} | {to_floor} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=15)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        python = prepare(folder)
        (folder / "floor.py").write_text(FLOOR)
        for module in ("minisacred", "sacred"):
            for kind, source in (("exp", SCRIPT), ("calls", CALLS), ("prints", PRINTS)):
                (folder / f"{kind}_{module}.py").write_text(source.format(module=module))
        print(f"Python {sys.version.split()[0]}, medians of {repeat} runs in turn\n")
        print("| item | minisacred | Sacred | ratio | ratio to the floor |")
        print("|---|---|---|---|---|")

        whole = [
            [python, f"exp_{m}.py", "with", "foo=23", "-F", f"runs_{m}"]
            for m in ("minisacred", "sacred")
        ]
        commands = [*whole, [python, "floor.py"]]
        times = measure(folder, commands, repeat, lambda result: result[1] * 1000)
        row("whole process, `with foo=23 -F DIR`", "ms", *times)
        row("its peak memory", "MB", *measure(folder, commands, 3, lambda result: result[2]))
        calls = [[python, f"calls_{m}.py"] for m in ("minisacred", "sacred")]
        row("captured call less the plain one", "µs",
            *measure(folder, calls, max(repeat // 3, 1), lambda result: float(result[0])))  # fmt: skip

        def result_file(position):
            return lambda _: float((folder / "result").read_text().split()[position])

        prints = [
            [python, f"prints_{m}.py", "-F", f"runs_{m}", "-C", "fd"]
            for m in ("minisacred", "sacred")
        ]
        row("memory that printing 200 MB through `fd` adds", "MB",
            *(v + 0.001 for v in measure(folder, prints, 3, result_file(0))))  # fmt: skip
        row("time to print 200 MB through `fd`", "s", *measure(folder, prints, 3, result_file(1)))


if __name__ == "__main__":
    main()
