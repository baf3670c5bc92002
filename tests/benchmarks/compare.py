"""Compare minisacred with Sacred, in one run on one interpreter.

    python tests/benchmarks/compare.py [--repeat N] [--quick] [ITEM ...]

Installs minisacred and Sacred into a temporary environment, runs the same scripts under both in
turn, and prints a Markdown table of medians, each with the goal it is meant to meet. A floor is
what the same could take at best: a script that only imports modules of the standard library,
`tee`, one `os.listdir`, or reading and parsing the same JSON files.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SACRED = "0.8.7"

# -- the scripts: each runs under both libraries, after these lines ----------------------------

IMPORTS = {
    "minisacred": "from minisacred import *\n",
    "sacred": "from sacred import *\nfrom sacred.observers import FileStorageObserver\n",
}
FLOOR = "import argparse, ast, inspect, json, logging, threading, functools\n"

PROCESS = """
ex = Experiment("exp")
@ex.config
def config():
    foo = 1
@ex.automain
def main(foo):
    return foo
"""

REPORT = """
def report(**values):
    import json
    with open("report.json", "w") as file:
        json.dump(values, file)
"""

#: What the scripts begin with, unless they say otherwise.
QUIET = f"""
import json, logging, os, shutil, sys, time, timeit
logging.disable()
ex = Experiment("exp")
{REPORT}
def milliseconds(function, *arguments):
    begun = time.perf_counter()
    function(*arguments)
    return (time.perf_counter() - begun) * 1000
"""

CALLS = """
ex.add_config(a=1)
def plain(a, b, c):
    pass
captured = ex.capture(plain)
@ex.main
def main(_run):
    n = 100_000
    filled = min(timeit.repeat(lambda: captured(b=2, c=3), number=n, repeat=5))
    passed = min(timeit.repeat(lambda: plain(a=1, b=2, c=3), number=n, repeat=5))
    logged = timeit.timeit(lambda: _run.log_scalar("loss", 0.5), number=n)
    report(call=(filled - passed) / n * 1e6, log_scalar=logged / n * 1e6)
SETTINGS.CAPTURE_MODE = "no"
ex.run()
"""

RUNS = """
@ex.main
def main():
    pass
def per_run(mode, count):
    SETTINGS.CAPTURE_MODE = mode
    ex.run()
    return sorted(milliseconds(ex.run) for _ in range(count))[count // 2]
unobserved = per_run("no", 100)
ex.observers.append(FileStorageObserver("runs"))
report(unobserved=unobserved, sys=per_run("sys", 20), fd=per_run("fd", 20))
"""

SCALARS = """
@ex.main
def main(_run):
    for step in range(int(sys.argv[1])):
        _run.log_scalar("loss", step / 3)
        if step % 1000 == 0:
            time.sleep(0.01)  # a run of 300,000 lasts 3 s at least: time for 15 beats
SETTINGS.CAPTURE_MODE = "no"
ex.observers.append(FileStorageObserver("runs"))
start = time.process_time()
ex.run(options={"--beat-interval": 0.2})
report(cpu=time.process_time() - start)
"""

WRITE = """
import sys, time
def write(kind):
    texts = [f"{i:06d} " + "x" * 72 + "\\n" for i in range(200_000)]
    if kind == "blocks":
        texts = ["x" * 65_535 + "\\n"] * 1600
    size = sum(map(len, texts)) / 1e6
    start = time.perf_counter()
    for text in texts:
        sys.stdout.write(text)
    sys.stdout.flush()
    return size, start, time.perf_counter()
def report_speed(size, start, printed):
    report(recorded=size / (time.perf_counter() - start), printed=size / (printed - start))
"""

#: Sacred keeps in memory what it writes to cout.txt at the end: recorded it is after the run.
PRINTS = """
@ex.main
def main():
    global written
    written = write(sys.argv[1])
SETTINGS.CAPTURE_MODE = sys.argv[2]
ex.observers.append(FileStorageObserver("runs"))
ex.run()
report_speed(*written)
"""

GROWTH = """
@ex.main
def main():
    for _ in range(int(sys.argv[1])):
        print("x" * 999_999)
ex.observers.append(FileStorageObserver("runs"))
ex.run()
"""

STARTS = """
@ex.main
def main():
    global started
    started = time.perf_counter()
def start(folder):
    ex.observers[:] = [FileStorageObserver(folder)]
    begun = time.perf_counter()
    run = ex.run()
    shutil.rmtree(os.path.join(folder, str(run._id)))
    return (started - begun) * 1000
SETTINGS.CAPTURE_MODE = "no"
full = sys.argv[1]
start("empty"), start(full)
times = [(start(full), start("empty"), milliseconds(os.listdir, full)) for _ in range(7)]
full, empty, listed = (sorted(column)[3] for column in zip(*times))
report(more=full - empty, listed=listed)
"""

SCOPES = """
begun = time.perf_counter()
{scopes}
@ex.main
def main():
    pass
SETTINGS.CAPTURE_MODE = "no"
ex.run()
first = time.perf_counter() - begun
for _ in range(20):
    ex.run()
report(first=first * 1000, next=(time.perf_counter() - begun - first) / 20 * 1000)
"""

DISCOVERY = """
import numpy, time, {modules}
begun = time.perf_counter()
Experiment("exp").get_experiment_info()
report(milliseconds=(time.perf_counter() - begun) * 1000)
"""

MODULES = """
argparse array ast asyncio base64 bisect bz2 calendar cmath cmd code codecs collections colorsys
configparser contextlib copy csv ctypes datetime decimal difflib dis email enum fileinput fnmatch
fractions ftplib gettext glob gzip heapq html http.client imaplib ipaddress json locale lzma
mimetypes multiprocessing netrc numbers optparse pickle pickletools plistlib pprint queue sched
secrets shelve shlex smtplib socket sqlite3 statistics string subprocess
""".split()

RECORDED = """
@ex.main
def main(_run):
    for step in range(10):
        _run.log_scalar("loss", step / 3)
    _run.info["note"] = "a short one"
ex.add_config(rate=0.1, layers=[64, 64], optimizer={"name": "adam", "momentum": 0.9})
ex.observers.append(FileStorageObserver("recorded"))
ex.run()
"""

LOADS = """
def parse():
    runs = []
    for name in os.listdir("many"):
        for file in ("run.json", "config.json", "info.json", "metrics.json"):
            with open(os.path.join("many", name, file), "rb") as opened:
                runs.append(json.loads(opened.read()))
parse()
times = [(milliseconds(list, load_runs("many")), milliseconds(parse)) for _ in range(3)]
load, floor = (sorted(column)[1] / 1000 for column in zip(*times))
report(load=load, floor=floor)
"""

# -- measuring ---------------------------------------------------------------------------------

#: Runs a command and writes what it took. A process of its own, and a small one: the peak
#: memory of a child counts from before its exec, when it still is its parent.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
took = [(time.perf_counter() - start) * 1000, usage.ru_maxrss]
open("took.json", "w").write(str(took))
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


class Bench:
    """A folder with an environment that has both libraries, and scripts to run there."""

    def __init__(self, folder, repeat, quick):
        self.folder, self.repeat, self.quick = folder, repeat, quick
        subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
        self.python = str(folder / "env" / "bin" / "python")
        self.install(f"sacred=={SACRED}", "setuptools<80", str(ROOT))

    def install(self, *packages):
        pip = [self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True, stderr=subprocess.DEVNULL)

    def script(self, name, text, *arguments, start=QUIET):
        """Write a script for both libraries; return the two commands that run it."""
        commands = []
        for library, imports in IMPORTS.items():
            file = self.folder / f"{name}_{library}.py"
            file.write_text(imports + start + text)
            commands.append([self.python, file.name, *map(str, arguments)])
        return commands

    def run(self, command, path=""):
        """Run a command (a list, or one string for a shell); return its time, size and report."""
        command = command if isinstance(command, list) else ["/bin/sh", "-c", command]
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        env.update({"PYTHONPATH": path} if path else {})
        output, report = self.folder / "output", self.folder / "report.json"
        report.unlink(missing_ok=True)
        # What others have left to be written to the disk would slow this one down.
        shutil.rmtree(self.folder / "runs", ignore_errors=True)
        os.sync()
        launcher = [self.python, "-I", "-S", "-c", LAUNCHER, *command]
        with open(output, "wb") as file:
            streams = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": subprocess.STDOUT}
            if subprocess.run(launcher, cwd=self.folder, env=env, **streams).returncode:
                sys.exit(f"{command} failed:\n{output.read_text()[-2000:]}")
        wall, rss = json.loads((self.folder / "took.json").read_text())
        rss /= 1 << 20 if sys.platform == "darwin" else 1 << 10
        values = json.loads(report.read_text()) if report.exists() else {}
        return {"wall": wall, "rss": rss, **values}

    def medians(self, commands, *kinds, repeat=None, path=""):
        """Run the commands in turn; return for each kind of value the medians, by command."""
        rounds = [[self.run(c, path) for c in commands] for _ in range(repeat or self.repeat)]
        return [
            [statistics.median(outcome[kind] for outcome in outcomes) for outcomes in zip(*rounds)]
            for kind in kinds
        ]


def row(item, unit, ours, sacred=None, floor=None, goals=""):
    """Return a row of the table; goals are like `≤ 0.2 Sacred; ≤ 1.5 floor; ≤ 15 ms`."""
    ratios, met = [], []
    if not goals and sacred:
        ratios.append(f"{ours / sacred:.2f} Sacred")
    for goal in filter(None, goals.split("; ")):
        sign, limit, *base = goal.split()
        bases = {"Sacred": sacred, "floor": floor}
        compared = ours
        for name in bases.keys() & base:
            compared = ours / bases[name]
            ratios.append(f"{compared:.2g} {name}" if compared < 0.1 else f"{compared:.2f} {name}")
        met.append(compared <= float(limit) if sign == "≤" else compared >= float(limit))
    cells = ["–" if v is None else f"{v:.3g} {unit}".strip() for v in (ours, sacred, floor)]
    cells += ["; ".join(ratios) or "–", goals or "–"]
    cells.append("–" if not met else "yes" if all(met) else "**no**")
    return f"| {' | '.join([item, *cells])} |"


# -- the items: each yields rows -----------------------------------------------------------------


def process(bench):
    (bench.folder / "floor.py").write_text(FLOOR)
    commands = bench.script("exp", PROCESS, "with", "foo=23", "-F", "runs", start="")
    commands.append([bench.python, "floor.py"])
    bench.medians(commands, "wall", repeat=1)  # compiles and warms
    walls, sizes = bench.medians(commands, "wall", "rss", repeat=2 * bench.repeat)
    item = "whole process, `with foo=23 -F DIR`"
    yield row(item, "ms", *walls, goals="≤ 0.20 Sacred; ≤ 1.5 floor")
    yield row("its peak memory", "MB", *sizes, goals="≤ 0.45 Sacred")


def calls(bench):
    commands = bench.script("calls", CALLS)
    captured, scalar = bench.medians(commands, "call", "log_scalar", repeat=bench.repeat // 3)
    yield row("captured call less the plain one", "µs", *captured, goals="≤ 0.12 Sacred")
    yield row("`log_scalar` call", "µs", *scalar, goals="≤ 0.35 Sacred")


def runs(bench):
    commands = bench.script("runs", RUNS)
    times = bench.medians(commands, "unobserved", "sys", "fd", repeat=bench.repeat // 5)
    yield row("`ex.run()`, unobserved", "ms", *times[0], goals="≤ 0.25 Sacred")
    yield row("`ex.run()`, file observer, sys", "ms", *times[1], goals="≤ 0.5 Sacred")
    yield row("`ex.run()`, file observer, fd", "ms", *times[2], goals="≤ 0.6 Sacred")


def scalars(bench):
    few, many = (30_000, 100_000) if bench.quick else (100_000, 300_000)
    commands = [c for n in (few, many) for c in bench.script("scalars", SCALARS, n)]
    (cpu,) = bench.medians(commands, "cpu", repeat=1 if bench.quick else 2)
    item = f"{many:,} scalars, a beat each 0.2 s: "
    yield row(item + "CPU", "s", *cpu[2:], goals="≤ 0.35 Sacred")
    exponents = [math.log(cpu[i + 2] / cpu[i]) / math.log(many / few) for i in (0, 1)]
    yield row(item + f"exponent from {few:,} on", "", *exponents, goals="≤ 1.15")


def prints(bench):
    kinds = {"lines": "200,000 lines", "blocks": "100 MB in blocks of 64 KB"}
    (bench.folder / "tee.py").write_text(REPORT + WRITE + "report_speed(*write(sys.argv[1]))\n")
    for kind, item in kinds.items():
        for mode in ("fd", "sys"):
            commands = bench.script("prints", WRITE + PRINTS, kind, mode)
            goals = {"fd": "≥ 1 Sacred", "sys": "≥ 0.95 Sacred" if kind == "lines" else ""}[mode]
            if mode == "fd":
                commands.append(f"{bench.python} tee.py {kind} | tee copy")
            repeat = max(bench.repeat // 3, 3)
            recorded, printed = bench.medians(commands, "recorded", "printed", repeat=repeat)
            yield row(f"{item} through {mode}: printed", "MB/s", *printed, goals=goals)
            yield row("the same until it is recorded", "MB/s", *recorded[:2])


def memory(bench):
    sizes = [bench.run(bench.script("memory", GROWTH, count)[0])["rss"] for count in (1, 200)]
    yield row("memory that 200 MB of output take", "MB", sizes[1] - sizes[0], goals="≤ 20 MB")


def directories(bench):
    for count in (2_000, 20_000) if bench.quick else (20_000, 200_000):
        for number in range(1, count + 1):
            os.makedirs(bench.folder / f"full_{count}" / str(number))
        commands = bench.script("starts", STARTS, f"full_{count}")
        more, listed = bench.medians(commands, "more", "listed", repeat=3)
        item = f"start among {count:,} runs, less one among none"
        yield row(item, "ms", *more, listed[0], goals="≤ 0.3 Sacred")


def scopes(bench):
    one = "".join(f"    entry_{i} = {i}\n" for i in range(200))
    chain = ["@ex.config\ndef scope_0():\n    x0 = 1\n"]
    for i in range(1, 10):
        entries = "".join(f"    x{i}_{k} = x{i - 1} + {k}\n" for k in range(10))
        chain.append(f"@ex.config\ndef scope_{i}(x{i - 1}):\n    x{i} = x{i - 1} + 1\n{entries}")
    sources = {"200 entries in a scope": f"@ex.config\ndef config():\n{one}"}
    sources["10 scopes in a chain"] = "\n".join(chain)
    for number, (item, source) in enumerate(sources.items()):
        commands = bench.script(f"scopes_{number}", SCOPES.format(scopes=source))
        first, further = bench.medians(commands, "first", "next", repeat=bench.repeat // 3)
        yield row(f"{item}: made and run once", "ms", *first, goals="≤ 1 Sacred")
        yield row(f"{item}: each further run", "ms", *further, goals="≤ 1 Sacred")


def discovery(bench):
    # a directory of its own: Sacred imports numpy wherever it can
    site = bench.folder / "more" / "site-packages"
    bench.install("numpy", "--target", str(site))
    for number in range(300):
        info = site / f"package_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: package-{number}\nVersion: 1.0\n" + "X: y\n" * 50)
        (info / "RECORD").write_text("".join(f"package_{number}/{i}.py,,\n" for i in range(50)))
    text = DISCOVERY.format(modules=", ".join(MODULES))
    commands = bench.script("discovery", text, start=REPORT)
    (times,) = bench.medians(commands, "milliseconds", repeat=bench.repeat // 3, path=str(site))
    item = "discovery: numpy, 60 more modules, 300 distributions"
    yield row(item, "ms", *times, goals="≤ 1 Sacred")


def loads(bench):
    count = 1_000 if bench.quick else 10_000
    bench.run(bench.script("recorded", RECORDED)[0])
    many = bench.folder / "many"
    for number in range(1, count + 1):
        shutil.copytree(bench.folder / "recorded" / "1", many / str(number))
    command = bench.script("loads", LOADS)[0]
    load, floor = bench.medians([command], "load", "floor", repeat=1 if bench.quick else 2)
    item = f"`load_runs` over {count:,} runs"
    yield row(item, "s", *load, None, *floor, goals="≤ 2 floor")
    ls = [bench.python, str(ROOT / "minisacred.py"), "ls", "many"]
    (wall,) = bench.medians([ls], "wall", repeat=3)
    item = "`ls` of them, the whole process"
    yield row(item, "s", wall[0] / 1000, None, *floor, goals="≤ 3 floor")


ITEMS = [process, calls, runs, scalars, prints, memory, directories, scopes, discovery, loads]


def machine():
    """Return the processor and the system, in words."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    name = re.search("model name.*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "")
    return f"{os.cpu_count()} × {name[1] if name else platform.machine()}, {platform.platform()}"


def main():
    known = {item.__name__: item for item in ITEMS}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("items", nargs="*", metavar="ITEM", help=f"of {', '.join(known)}; else all")
    parser.add_argument("--repeat", type=int, default=15, help="processes an item (default 15)")
    parser.add_argument("--quick", action="store_true", help="fewer, and smaller directories")
    args = parser.parse_args()
    for name in set(args.items) - set(known):
        parser.error(f"no item {name!r} (known: {', '.join(known)})")
    version = re.search('__version__ = "(.*)"', (ROOT / "minisacred.py").read_text())[1]
    versions = f"Python {platform.python_version()}, minisacred {version}, Sacred {SACRED}"
    print(f"{datetime.date.today()}, {machine()}, {versions}\n")
    print("| item | minisacred | Sacred | floor | ratio | goal | met? |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        bench = Bench(pathlib.Path(folder), 5 if args.quick else args.repeat, args.quick)
        for name in args.items or known:
            for line in known[name](bench):
                print(line, flush=True)


if __name__ == "__main__":
    main()
