"""The experiment: its name, where it can be made, what it offers during a run, and nesting."""

import logging
import threading

import pytest
from helpers import RunFiles

from minisacred import Experiment, FileStorageObserver, SacredError, TimeoutInterrupt


def test_name_is_the_stem_of_the_file_by_default():
    assert Experiment().path == "test_experiment"
    assert Experiment("other").path == "other"


@pytest.mark.parametrize(
    "code, named",
    [
        ("Experiment('x')", ["interactive=True"]),
        ("Experiment()", ["interactive=True"]),
        ("Experiment(interactive=True)", ["name"]),
        ("ex = Experiment('x', interactive=True)\nex.automain(lambda: print('ran'))", ["script"]),
    ],
)
def test_what_is_refused_without_a_file_says_what_to_do(place, code, named):
    done = place.python("-c", f"from minisacred import Experiment\n{code}")
    last = done.err.splitlines()[-1]
    assert done.code == 1 and done.out == "" and all(part in last for part in named)


def test_interactive_experiment_is_recorded_without_a_file(place):
    done = place.python(
        "-c",
        "from minisacred import *\nex = Experiment('x', interactive=True)\nex.add_config(a=1)\n"
        "ex.observers.append(FileStorageObserver('runs'))\n"
        "@ex.main\ndef main(a): return a\nprint(ex.run().result)",
    )
    assert done.out == "1\n", done.err
    assert place.run().run["experiment"]["mainfile"] is None
    assert place.run().run["status"] == "COMPLETED"


def test_scope_without_a_source_says_so(place):
    code = "ex = Experiment('x', interactive=True)\n@ex.config\ndef scope(): a = 1\n"
    run = f"from minisacred import *\nnames = dict(globals())\nexec({code!r}, names)\n"
    done = place.python("-c", run)
    assert done.code == 1 and "scope" in done.err.splitlines()[-1]


@pytest.mark.parametrize("imported, out", [(False, "ran 2\n"), (True, "")])
def test_automain_runs_the_script_only(place, imported, out):
    script = "ex.add_config(a=1)\n\n@ex.automain\ndef main(a):\n    print('ran', a)\n"
    place.write(script, "train.py", footer="")
    place.write("import train\n", "other.py", header="", footer="")
    argv = ["other.py"] if imported else ["train.py", "with", "a=2"]
    done = place.python(*argv)
    assert (done.code, done.out) == (0, out), done.err


def test_running_experiment_offers_its_run(ex, tmp_path):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    (tmp_path / "f").write_text("x")

    @ex.main
    def main(_run):
        ex.info["a"] = 1
        ex.log_scalar("loss", 0.5)
        ex.add_artifact(tmp_path / "f")
        ex.add_resource(tmp_path / "f")
        return [ex.current_run is _run, ex.open_resource(tmp_path / "f").close()]

    assert ex.run().result == [True, None]
    files = RunFiles(tmp_path / "runs" / "1")
    assert files.info == {"a": 1} and files.metrics["loss"]["values"] == [0.5]
    assert files.run["artifacts"] == ["f"] and len(files.run["resources"]) == 1


def test_experiment_that_does_not_run_says_so():
    with pytest.raises(SacredError, match="not running"):
        Experiment("exp").info["a"] = 1


def test_log_of_the_run_is_that_of_the_experiment(ex, caplog):
    ex.logger = logging.getLogger("mine")
    ex.main(lambda _log: _log.warning("a word"))
    ex.run(options={"--name": "other"})
    ((name, text),) = [(r.name, r.getMessage()) for r in caplog.records if "word" in r.msg]
    assert name.startswith("mine.other") and text == "a word"


def test_logging_is_set_up_at_the_first_run_and_stays(place):
    done = place(
        """
        import logging
        assert not logging.getLogger().handlers
        @ex.main
        def main(_log):
            _log.info("during")
        ex.run()
        ex.run()
        logging.getLogger().info("after")
        """,
        script={"footer": ""},
    )
    lines = done.err.splitlines()
    assert lines.count("INFO - exp.main - during") == 2 and lines[-1] == "INFO - root - after"


def test_logging_that_the_program_has_set_up_is_left_alone(place):
    done = place(
        """
        import logging
        logging.basicConfig(level="INFO", format="mine: %(message)s")
        ex.main(lambda _log: _log.info("during"))
        ex.run()
        """,
        script={"footer": ""},
    )
    lines = done.err.splitlines()
    assert lines.count("mine: during") == 1 and all(line.startswith("mine: ") for line in lines)


@pytest.mark.parametrize("fails", [False, True])
def test_nested_run_gives_the_outer_one_back(ex, fails):
    ex.add_config(depth=0)

    @ex.capture
    def get(depth, _run):
        return depth, _run

    @ex.main
    def main(depth, _run):
        if depth == 1:
            if fails:
                raise TimeoutInterrupt
            return "inner"
        try:
            ex.run(config_updates={"depth": 1})
        except TimeoutInterrupt:
            assert fails
        return [get() == (0, _run), ex.current_run is _run, _run.config["depth"]]

    assert ex.run().result == [True, True, 0]


def test_second_run_at_once_in_another_thread_is_refused_with_the_reason(ex):
    errors = []

    def run():
        try:
            ex.run("other")
        except SacredError as error:
            errors.append(str(error))

    @ex.command
    def other():
        pass

    @ex.main
    def main():
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    ex.run()
    assert len(errors) == 1 and "thread" in errors[0] and "process" in errors[0]
