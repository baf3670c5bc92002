"""Each example prints what its docstring says."""

import ast
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT, environment

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def transcripts(text):
    """Yield (command, expected lines) for each `$ command` of a docstring."""
    for part in text.split("\n$ ")[1:]:
        command, *expected = part.splitlines()
        yield command, [line for line in expected if line.strip()]


def shell(command, folder):
    """Run a documented command as it stands, with this interpreter as `python`."""
    bin_folder = folder / "bin"
    if not bin_folder.exists():
        bin_folder.mkdir()
        os.symlink(sys.executable, bin_folder / "python")
    env = environment(PYTHONUNBUFFERED="1", PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    env.pop("PYTHONPATH")
    return subprocess.run(
        command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


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
        assert len(pathlib.Path(tmp_path / "examples" / name).read_text().splitlines()) <= 60
