"""Runs are recorded in Pyodide: CPython in WebAssembly, with no threads and no processes.

Pyodide 314 is CPython 3.14: this is also where the newest syntax and its `ast` are met.
"""

import shutil
import subprocess
import textwrap

import pytest
from helpers import ROOT, Finished

NODE_SCRIPT = """
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { loadPyodide } from "pyodide";

const [module, script, target] = process.argv.slice(2);
const python = await loadPyodide();
const { FS } = python;

function copy(from, to) {
    mkdirSync(to, { recursive: true });
    for (const name of FS.readdir(from).filter((name) => name !== "." && name !== "..")) {
        const [path, copied] = [`${from}/${name}`, `${to}/${name}`];
        if (FS.isDir(FS.stat(path).mode)) copy(path, copied);
        else writeFileSync(copied, FS.readFile(path));
    }
}

FS.writeFile("minisacred.py", readFileSync(module));
try {
    // With a file name the source is where tracebacks and config scopes look for it.
    python.runPython(readFileSync(script, "utf8"), { filename: "cell.py" });
} catch (error) {
    console.error(error.message);
    process.exitCode = 1;
}
if (FS.analyzePath("runs").exists) copy("runs", target);
"""

HEADER = """\
import warnings
warnings.simplefilter("error")
from minisacred import Experiment, FileStorageObserver
ex = Experiment("exp", interactive=True)
ex.observers.append(FileStorageObserver("runs"))
"""


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory):
    """A directory with Pyodide in node_modules, and the script that runs a cell in it."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no node or npm here: apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("pyodide")
    command = ["npm", "install", "--no-audit", "--no-fund", "pyodide@314"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"npm install pyodide@314 fails: {done.stderr.strip()[-300:]}")
    (folder / "cell.mjs").write_text(NODE_SCRIPT)
    return folder


@pytest.fixture
def pyodide(node_folder, tmp_path):
    """Run the source of a cell in a fresh Pyodide; its `runs` are copied out of it."""

    def run(source):
        script = tmp_path / "cell.py"
        script.write_text(HEADER + textwrap.dedent(source), encoding="utf-8")
        done = subprocess.run(
            ["node", "cell.mjs", ROOT / "minisacred.py", script, tmp_path / "runs"],
            cwd=node_folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Warning" not in done.stderr, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr, tmp_path)

    return run


def test_run_without_threads_and_processes_is_recorded_whole(pyodide):
    done = pyodide(
        """
        import json, sys, threading

        try:
            threading.Thread(target=print).start()
        except RuntimeError:
            print("no threads", sys.version_info[:2])

        ex.add_config(n=3)

        @ex.capture
        def step(n, k):
            return k / n

        @ex.main
        def main(n, _run):
            print("printed")
            print("to stderr", file=sys.stderr)
            for k in range(n):
                _run.log_scalar("loss", step(k=k))
            _run.info["note"] = [1, 2]
            with open(f"{_run.dir}/run.json") as file:
                now = json.load(file)
            assert now["status"] == "RUNNING" and now["heartbeat"]
            return n

        run = ex.run(config_updates={"n": 2})
        print(run.status, run.result, run.capture_mode)
        """
    )
    assert done.code == 0, done.err
    assert done.out == "no threads (3, 14)\nprinted\nCOMPLETED 2 sys\n"
    assert "to stderr" in done.err
    files = done.run()
    assert files.run["status"] == "COMPLETED" and files.run["result"] == 2
    assert files.run["start_time"] < files.run["heartbeat"]
    assert files.run["experiment"]["mainfile"] is None
    assert files.run["experiment"]["repositories"] == []
    assert files.run["host"]["python_version"].startswith("3.14.")
    assert files.config.keys() == {"n", "seed"} and files.config["n"] == 2
    assert "printed\nto stderr\n" in files.cout and "Completed after" in files.cout
    assert files.info == {"note": [1, 2]}
    assert files.metrics["loss"]["values"] == [0, 0.5] and len(files.lines) == 2


def test_failed_run_has_its_trace_in_pyodide(pyodide):
    done = pyodide(
        """
        @ex.capture
        def inner(_config):
            return 1 / 0

        @ex.main
        def main():
            print("before")
            inner()

        ex.run()
        """
    )
    assert done.code == 1 and "ZeroDivisionError" in done.err
    files = done.run()
    assert files.run["status"] == "FAILED" and files.run["stop_time"]
    trace = "".join(files.run["fail_trace"])
    assert "return 1 / 0" in trace and trace.endswith("ZeroDivisionError: division by zero\n")
    assert "minisacred" not in trace
    assert "before\n" in files.cout and "Failed after" in files.cout


def test_fixed_values_win_in_scopes_of_the_newest_python(pyodide):
    done = pyodide(
        """
        ex.add_config(base=2)

        @ex.config
        def config(base):
            import contextlib

            lr: float = 0.1
            rates = [lr * k for k in range(base)]
            half = (double := base * 2) / 4
            with contextlib.nullcontext(7) as handle:
                inside = handle
            match {"kind": "net", "size": 3}:
                case {"kind": kind, "size": size} if size > 3:
                    matched = f"{kind}{size}"
            try:
                tried = 1 / 0
            except ZeroDivisionError, ValueError:
                tried = -1
            finally:
                last = tried - 1
            template = t"{lr}"
            model = {"depth": 1, "act": {"name": "relu", "slope": 0}}
            model["width"] = model["depth"] * 8
            model.update(wide=model["width"] > 8)
            layers = list(n for n in range(model["depth"]))

        @ex.main
        def main(_config):
            pass

        fixed = {"lr": 1, "double": 6, "handle": 9, "size": 5, "tried": 4, "model.depth": 2}
        ex.run(config_updates={**fixed, "model.act": {"slope": 3}})
        """
    )
    assert done.code == 0, done.err
    config = done.run().config
    assert config.pop("seed") and config.pop("model") == {
        "depth": 2, "act": {"name": "relu", "slope": 3}, "width": 16, "wide": True
    }  # fmt: skip
    assert config.pop("kind") == "net" and config.pop("matched") == "net5"
    numbers = {"base": 2, "lr": 1, "double": 6, "half": 1.5, "handle": 9, "inside": 9, "size": 5}
    assert config == {**numbers, "tried": 4, "last": 3, "rates": [0, 1], "layers": [0, 1]}
