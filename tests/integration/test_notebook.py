"""Runs started in the cells of a Jupyter notebook are recorded, the cells as their source."""

import re

import pytest
from helpers import RunFiles, environment

DEFINE = """
from minisacred import Experiment, FileStorageObserver
ex = Experiment("nb", interactive=True)
ex.observers.append(FileStorageObserver("runs"))
"""

CONFIG = """
@ex.config
def config():
    base = 1  # all follows from it
    squares = [base * k**2 for k in range(4)]
    total = sum(squares)
"""

MAIN = """
@ex.capture
def scaled(squares, factor=10):
    return [factor * value for value in squares]

@ex.main
def main(total, _run):
    print("the total is", total)
    _run.log_scalar("total", total)
    return scaled()
"""


class Cell:
    """What the notebook shows below an executed cell."""

    def __init__(self, messages):
        shown = dict.fromkeys(("stdout", "stderr", "execute_result", "error"), "")
        for message in messages:
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                shown[content["name"]] += content["text"]
            elif kind == "execute_result":
                shown[kind] += content["data"]["text/plain"]
            elif kind == "error":
                shown[kind] += re.sub("\x1b\\[[0-9;]*m", "", "\n".join(content["traceback"]))
        self.out, self.err, self.result, self.traceback = shown.values()


class Notebook:
    """A Jupyter kernel and its client."""

    def __init__(self, path, manager, client):
        self.path, self.manager, self.client = path, manager, client

    def __call__(self, code, interrupt_at=None):
        """Execute the code as a cell; return what it shows."""
        messages = []

        def hook(message):
            messages.append(message)
            if interrupt_at and interrupt_at in message["content"].get("text", ""):
                self.manager.interrupt_kernel()

        self.client.execute_interactive(code, timeout=60, allow_stdin=False, output_hook=hook)
        return Cell(messages)

    def run(self, name="1"):
        return RunFiles(self.path / "runs" / name)

    def sources(self, name="1"):
        """Return the text of each source of a run, by the name that is recorded."""
        sources = self.run(name).run["experiment"]["sources"]
        return {source: (self.path / "runs" / stored).read_text() for source, stored in sources}


@pytest.fixture
def notebook(tmp_path):
    needed = "pip install ipykernel jupyter_client"
    pytest.importorskip("ipykernel", reason=needed)
    manager = pytest.importorskip("jupyter_client", reason=needed).KernelManager()
    manager.start_kernel(cwd=str(tmp_path), env=environment(IPYTHONDIR=str(tmp_path / "ipython")))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Notebook(tmp_path, manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def test_run_in_a_notebook_is_recorded_and_shown(notebook):
    for code in (DEFINE, CONFIG, MAIN):
        assert not notebook(code).traceback
    shown = notebook("ex.run(config_updates={'base': 2}).result")
    assert shown.out == "the total is 28\n" and shown.result == "[0, 20, 80, 180]"
    assert "INFO - nb - Completed" in shown.err
    files = notebook.run()
    assert files.run["status"] == "COMPLETED" and files.run["result"] == [0, 20, 80, 180]
    assert files.config.items() >= {"base": 2, "squares": [0, 2, 8, 18], "total": 28}.items()
    assert files.metrics["total"]["values"] == [28] and "the total is 28\n" in files.cout
    assert re.search("base = 1 +# all follows from it", notebook("ex.run('print_config')").out)


def test_cells_executed_so_far_are_a_source(notebook):
    (notebook.path / "helper.py").write_text("VALUE = 1\n")
    for code in (DEFINE, CONFIG, MAIN, "%env\nimport helper", "ex.run()", "later = 1", "ex.run()"):
        notebook(code)
    sources, others = notebook.sources("1"), notebook.sources("2")
    (name,) = sources.keys() - {"helper.py"}
    assert sources["helper.py"] == "VALUE = 1\n"
    for code in (DEFINE, CONFIG, MAIN, "ex.run()"):
        assert code.strip() in sources[name]
    assert "later = 1" not in sources[name] and "later = 1" in others[name]
    compile(sources[name], name, "exec")  # magics are calls, as in nbconvert's scripts


def test_cell_that_is_executed_again_replaces_what_it_defined(notebook):
    for code in (DEFINE, CONFIG, MAIN, "ex.run()"):
        notebook(code)
    notebook(CONFIG.replace("base = 1", "base = 3"))
    notebook(MAIN.replace("the total is", "now it is").replace("factor=10", "factor=2"))
    shown = notebook("ex.run().result")
    assert shown.out == "now it is 42\n" and shown.result == "[0, 6, 24, 54]"
    shown = notebook("ex.run(config_updates={'base': 5}).result")
    assert shown.out == "now it is 70\n" and shown.result == "[0, 10, 40, 90]"


def test_failure_records_the_code_of_the_cells_and_no_frames_of_ours(notebook):
    notebook(DEFINE)
    notebook("@ex.capture\ndef ratio(a):\n    return 1 / a\n")
    notebook("@ex.main\ndef main():\n    print('before')\n    assert ratio()\nex.add_config(a=0)")
    assert "ZeroDivisionError: division by zero" in notebook("ex.run()").traceback
    assert notebook.run().run["status"] == "FAILED" and "before\n" in notebook.run().cout
    trace = "".join(notebook.run().run["fail_trace"])
    assert "assert ratio()\n" in trace and "return 1 / a\n" in trace
    assert "minisacred" not in trace


COROUTINE = """
import asyncio
@ex.main
async def main(pause={}):
    print("waiting")
    await asyncio.sleep(pause)
    return 5
"""


def test_coroutine_runs_in_the_midst_of_the_loop_of_the_kernel(notebook):
    notebook(DEFINE + COROUTINE.format(0))
    assert notebook("ex.run().result").result == "5"


BLOCKING = "import time\n@ex.main\ndef main():\n    print('waiting')\n    time.sleep(100)"


@pytest.mark.parametrize("main", [BLOCKING, COROUTINE.format(100)], ids=["blocking", "coroutine"])
def test_interrupting_the_kernel_interrupts_the_run(notebook, main):
    notebook(DEFINE + main)
    assert "KeyboardInterrupt" in notebook("ex.run()", interrupt_at="waiting").traceback
    assert notebook.run().run["status"] == "INTERRUPTED"
    assert notebook("1 + 1").result == "2"


@pytest.mark.parametrize(
    "code, hint",
    [
        ("Experiment('nb')", "interactive=True"),
        ("Experiment(interactive=True)", "name"),
        ("Experiment('nb', interactive=True).automain(lambda: print('ran'))", "automain"),
    ],
)
def test_experiment_that_cannot_be_in_a_notebook_is_refused_with_a_hint(notebook, code, hint):
    notebook("from minisacred import Experiment")
    shown = notebook(code)
    assert "SacredError" in shown.traceback.splitlines()[-1] and not shown.out
    assert hint in shown.traceback.splitlines()[-1]
