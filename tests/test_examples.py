"""Each example prints what its docstring says."""

import ast
import os
import pathlib
import shutil

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
