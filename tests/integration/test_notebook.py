"""Runs started in the cells of a Jupyter notebook are recorded, the cells as their source."""

import re
import time

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
        contents = {kind: [] for kind in ("stream", "error", "execute_result")}
        for message in messages:
            contents.setdefault(message["msg_type"], []).append(message["content"])
        streams = contents["stream"]
        self.out = "".join(part["text"] for part in streams if part["name"] == "stdout")
        self.err = "".join(part["text"] for part in streams if part["name"] == "stderr")
        self.result = "".join(part["data"]["text/plain"] for part in contents["execute_result"])
        lines = [line for error in contents["error"] for line in error["traceback"]]
        self.traceback = re.sub("\x1b\\[[0-9;]*m", "", "\n".join(lines))


class Notebook:
    """A Jupyter kernel and its client."""

    def __init__(self, path, manager, client):
        self.path, self.manager, self.client = path, manager, client

    def __call__(self, code, output_hook=lambda message: None):
        """Execute the code as a cell; return what it shows."""
        messages = []

        def hook(message):
            messages.append(message)
            output_hook(message)

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
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    settings = environment(IPYTHONDIR=str(tmp_path / "ipython"), TMPDIR=str(temporary))
    manager.start_kernel(cwd=str(tmp_path), env=settings)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield Notebook(tmp_path, manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    assert not list(temporary.glob("minisacred-*"))


def test_run_in_a_notebook_is_recorded_and_shown(notebook):
    for code in (DEFINE, CONFIG, MAIN):
        assert not notebook(code).traceback
    shown = notebook("ex.run(config_updates={'base': 2}).result")
    assert shown.out == "the total is 28\n" and shown.result == "[0, 20, 80, 180]"
    assert "INFO - nb - Completed" in shown.err and not shown.traceback
    files = notebook.run()
    assert files.run["status"] == "COMPLETED" and files.run["result"] == [0, 20, 80, 180]
    assert files.config.pop("seed")
    assert files.config.items() >= {"base": 2, "squares": [0, 2, 8, 18], "total": 28}.items()
    assert files.metrics["total"]["values"] == [28]
    assert "the total is 28\n" in files.cout and "Completed after" in files.cout
    assert "base = 1" in notebook("ex.run('print_config')").out
    assert "# all follows from it" in notebook("ex.run('print_config')").out


def test_cells_executed_so_far_are_a_source(notebook):
    (notebook.path / "helper.py").write_text("VALUE = 1\n")
    observer = """
    import os, helper

    class Reading:
        def started_event(self, ex_info, **facts):
            for name, digest in ex_info["sources"]:
                with open(os.path.join(ex_info["base_dir"], name)) as file:
                    print(os.path.basename(name), len(file.read()))

    ex.observers.append(Reading())
    """
    cells = [DEFINE, CONFIG, MAIN, observer, "%env\n1 / 0", "ex.run(); value = 'first'"]
    for code in cells:
        shown = notebook(code)
    sources = notebook.sources()
    assert sources.keys() == {"notebook_cells.py", "helper.py"}
    for name, text in sources.items():  # observers of one's own can read them where they are
        assert f"{name} {len(text)}\n" in shown.out
    text = sources["notebook_cells.py"]
    parts = re.split(r"^# In\[(\d+)\]:\n\n", text, flags=re.MULTILINE)
    assert parts[0] == "" and parts[1::2] == ["1", "2", "3", "4", "5", "6"]
    for code, part in zip(cells[:3], parts[2::2]):
        assert code.strip() in part
    assert "class Reading:" in parts[8] and "1 / 0" in parts[10]
    assert "ex.run(); value = 'first'" in parts[12]
    compile(text, "notebook_cells.py", "exec")  # magics are calls, as in nbconvert's scripts

    notebook("value = 'between'")
    notebook("ex.run()")
    assert notebook.sources("1")["notebook_cells.py"] == text
    later = notebook.sources("2")["notebook_cells.py"]
    assert later.startswith(text) and "# In[7]:\n\nvalue = 'between'\n" in later


def test_cell_that_is_executed_again_replaces_what_it_defined(notebook):
    for code in (DEFINE, CONFIG, MAIN, "ex.run()"):
        notebook(code)
    notebook(CONFIG.replace("base = 1", "base = 3"))
    notebook(MAIN.replace("the total is", "now it is").replace("factor=10", "factor=2"))
    shown = notebook("ex.run().result")
    assert shown.out == "now it is 42\n" and shown.result == "[0, 6, 24, 54]"
    shown = notebook("ex.run(config_updates={'base': 5}).result")
    assert shown.out == "now it is 70\n" and shown.result == "[0, 10, 40, 90]"
    assert [notebook.run(name).config["base"] for name in "123"] == [1, 3, 5]


def test_failure_shows_the_code_of_the_cells_and_no_frames_of_ours(notebook):
    notebook(DEFINE)
    notebook("@ex.capture\ndef ratio(a):\n    return 1 / a\n")
    notebook("@ex.main\ndef main():\n    print('before')\n    assert ratio()\nex.add_config(a=0)")
    shown = notebook("run = ex.run()")
    assert "ZeroDivisionError: division by zero" in shown.traceback
    lines = [line.split(maxsplit=2) for line in shown.traceback.splitlines()]
    marked = [parts[2] for parts in lines if len(parts) == 3 and parts[0].endswith("->")]
    assert marked == ["run = ex.run()", "assert ratio()", "return 1 / a"]
    assert "minisacred" not in shown.traceback
    assert notebook.run().run["status"] == "FAILED" and "before\n" in notebook.run().cout
    trace = "".join(notebook.run().run["fail_trace"])
    assert "assert ratio()\n" in trace and "return 1 / a\n" in trace
    assert "minisacred" not in trace
    shown = notebook("ex.run(options={'debug': True})")
    assert "minisacred.py" in shown.traceback  # whole


def test_interrupting_the_kernel_interrupts_the_run(notebook):
    notebook(DEFINE)
    notebook("import time\n@ex.main\ndef main():\n    print('waiting')\n    time.sleep(60)")

    def interrupt(message):
        if message["msg_type"] == "stream" and "waiting" in message["content"]["text"]:
            notebook.manager.interrupt_kernel()

    start = time.monotonic()
    shown = notebook("ex.run()", output_hook=interrupt)
    assert "KeyboardInterrupt" in shown.traceback and time.monotonic() - start < 30
    assert notebook.run().run["status"] == "INTERRUPTED"
    assert notebook("1 + 1").result == "2"


def test_coroutine_runs_in_the_midst_of_the_loop_of_the_kernel(notebook):
    notebook(DEFINE)
    main = "import asyncio\n@ex.main\nasync def main():\n    await asyncio.sleep({})\n    return 5"
    notebook(main.format(0.1))
    assert notebook("ex.run().result").result == "5"
    notebook(main.format("60 if print('waiting') else 60"))

    def interrupt(message):
        if message["msg_type"] == "stream" and "waiting" in message["content"]["text"]:
            notebook.manager.interrupt_kernel()

    shown = notebook("ex.run()", output_hook=interrupt)
    assert "KeyboardInterrupt" in shown.traceback
    assert notebook.run("2").run["status"] == "INTERRUPTED"
    assert "waiting" in notebook.run("2").cout


def test_experiment_that_cannot_be_in_a_notebook_is_refused_with_a_hint(notebook):
    notebook("from minisacred import Experiment")
    for code, hint in (
        ("Experiment('nb')", "pass interactive=True and a name"),
        ("Experiment(interactive=True)", "needs a name"),
        (
            "ex = Experiment('nb', interactive=True)\n@ex.automain\ndef main():\n    print('ran')",
            "@ex.automain needs a script; here use @ex.main, and ex.run() to run",
        ),
    ):
        shown = notebook(code)
        assert "SacredError" in shown.traceback and hint in shown.traceback
        assert not shown.out
    assert not (notebook.path / "runs").exists()
