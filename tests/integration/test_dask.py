"""The example for Dask, on clusters of real processes."""

import ast
import shutil

import pytest
from helpers import ROOT, shell, transcripts

import minisacred

distributed = pytest.importorskip("distributed", reason="pip install 'dask[distributed]'")
dask = pytest.importorskip("dask")
pytestmark = pytest.mark.filterwarnings("default")  # those of Dask are not ours


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_TEMPORARY_DIRECTORY", str(tmp_path / "dask"))
    dask.config.refresh()
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "minisacred.py", tmp_path)
    return tmp_path


def check_runs(folder):
    """All that were queued have completed, by one worker and in one attempt."""
    runs = list(minisacred.load_runs(folder / "runs"))
    assert [(run["status"], run["result"]) for run in runs] == [
        ("COMPLETED", len(f"Hello {name}!"))
        for name in ("Ann", "Bob", "Cleo", "Dan", "Eve", "Finn")
    ]
    assert all(run["meta"]["worker"] and "attempts" not in run for run in runs)


def test_example_starts_a_cluster_of_its_own(folder):
    doc = ast.get_docstring(ast.parse((folder / "examples" / "dask_workers.py").read_text()))
    ((command, expected),) = transcripts(doc)
    done = shell(command, folder)
    assert done.stdout.splitlines() == expected, done.stderr
    check_runs(folder)


def test_example_works_on_the_cluster_that_it_is_told(folder):
    options = {"n_workers": 2, "threads_per_worker": 2, "processes": True}
    with distributed.LocalCluster(**options, dashboard_address=None) as cluster:
        done = shell(f"python examples/dask_workers.py runs {cluster.scheduler_address}", folder)
    lines = sorted(line.split()[:3] for line in done.stdout.splitlines())
    assert lines == [["run", str(number), "COMPLETED"] for number in range(1, 7)], done.stderr
    check_runs(folder)
