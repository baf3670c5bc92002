"""Each example prints what its docstring says."""

import ast
import json
import os
import pathlib
import shutil
import signal
import time

import pytest
from helpers import ROOT, shell, transcripts

ELSEWHERE = {"dask_workers.py"}  # tests/integration has what needs more than Python
EXAMPLES = sorted({path.name for path in (ROOT / "examples").glob("*.py")} - ELSEWHERE)


@pytest.mark.skipif(os.name != "posix", reason="the documented commands are for a POSIX shell")
@pytest.mark.parametrize("name", EXAMPLES)
def test_example_prints_what_its_docstring_says(name, tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "minisacred.py", tmp_path)
    doc = ast.get_docstring(ast.parse((tmp_path / "examples" / name).read_text()), clean=False)
    found = list(transcripts(doc))
    assert found
    for command, expected in found:
        done = shell(command, tmp_path)
        errors = [line for line in done.stderr.splitlines() if line not in done.stdout]
        output = done.stdout.replace("\r", "\n") + "\n".join(e for e in errors if "error:" in e)
        assert [line for line in output.splitlines() if line.strip()] == expected
    limit = 600 if name == "report.py" else 60
    assert len(pathlib.Path(tmp_path / "examples" / name).read_text().splitlines()) <= limit


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM")
def test_preempted_example_goes_on_until_all_steps_are_done(place):
    checkpoint = place.path / "runs" / "1" / "checkpoint.json"
    begin, go_on = ["with", "pause=0.06"], ["--resume", "1"]
    for arguments, enough in ((begin, 3), (go_on, 6), (go_on, 9)):
        process = place.start(ROOT / "examples" / "preemption.py", *arguments, "-F", "runs")
        while not checkpoint.exists() or json.loads(checkpoint.read_text())["step"] < enough:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGTERM
    done = place.python(ROOT / "examples" / "preemption.py", *go_on, "-F", "runs")
    assert done.out == "the weight is 2.996\n", done.err
    run = place.run().run
    assert run["status"] == "COMPLETED"
    assert [attempt["status"] for attempt in run["attempts"]] == ["INTERRUPTED"] * 3
    steps = place.run().metrics["loss"]["steps"]
    assert list(dict.fromkeys(steps)) == list(range(30))  # at most the interrupted one again
