"""The README's commands do what it says."""

import json
import os
import re
import shutil
import subprocess

import pytest
from helpers import ROOT, shell

from minisacred import load_runs

README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the commands are for a POSIX shell")


@pytest.fixture
def checkout(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "minisacred.py", tmp_path)
    return tmp_path


def consoles():
    return re.findall(r"```console\n(.*?)```", README, re.DOTALL)


def test_main_command_prints_its_transcript_and_makes_its_directory(checkout):
    command = re.search(r"^    (python examples/hello.*)$", README, re.MULTILINE).group(1)
    transcript = consoles()[0]
    first, second = transcript.split("$ ")[1:]
    assert first.splitlines()[0] == command
    done = shell(f"{command} 2>&1", checkout)
    assert done.stdout.splitlines() == first.splitlines()[1:]
    done = shell(second.splitlines()[0], checkout)
    listed = re.sub(r"_[0-9a-f]{32}", "_<md5>", done.stdout)
    assert listed.splitlines() == second.splitlines()[1:]


def test_tour_runs(checkout):
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "@ex" in b]
    (checkout / "train.py").write_text(block)
    for command in re.findall(r"^\$ (.*)$", "".join(consoles()[1:]), re.MULTILINE):
        if "--resume" in command:
            interrupt(checkout / "trials" / re.search(r"--resume (\S+)", command).group(1))
        done = shell(command, checkout)
        assert done.returncode == 0, (command, done.stderr)
    runs = list(load_runs(checkout / "trials"))
    assert {run["status"] for run in runs} == {"COMPLETED"}
    assert len(runs) == 2 + 1 + 4 + 2
    assert runs[0]["config"] == runs[1]["config"]


def interrupt(folder):
    """Make a record look as if its run had been interrupted."""
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "status": "INTERRUPTED"}))


def test_install_works_offline_of_the_index(checkout):
    """The test command of the README is run by the continuous integration; here, its parts exist."""
    command = re.search(r"^    (python -m venv.*)$", README, re.MULTILINE).group(1)
    assert "pytest" in command
    assert (
        command in (ROOT / ".ci" / "run").read_text()
        or "README.md" in (ROOT / ".ci" / "run").read_text()
    )


def test_only_agreed_names_at_the_top_level():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no git checkout here")
    names = {line.split("/")[0] for line in done.stdout.splitlines()}
    assert names <= {
        ".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "README.md", "examples", "minisacred.py",
        "pyproject.toml", "tests",
    }  # fmt: skip
