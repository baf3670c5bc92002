"""Runs are read by the tools that people use, what numpy and YAML have left in them included."""

import pytest
from helpers import Workplace

import minisacred

SOURCE = """
import numpy

@ex.config
def config():
    lr = numpy.float64(0.5)
    layers = numpy.arange(3)

@ex.main
def main(lr, layers, _run):
    for step in range(2):
        _run.log_scalar("loss", numpy.float32(lr) / (step + 1))
    with open("a.txt", "w") as file:
        file.write("an artifact")
    _run.add_artifact("a.txt")
    return {"score": numpy.int64(7)}
"""


@pytest.fixture
def numpy():
    return pytest.importorskip("numpy", reason="pip install numpy")


def test_pandas_reads_runs_and_metrics(tmp_path, numpy):
    pandas = pytest.importorskip("pandas", reason="pip install pandas")
    place = Workplace(tmp_path)
    for lr in (0.25, 0.5):
        done = place(SOURCE, "with", f"lr={lr}", "-F", "runs")
        assert done.code == 0, done.err
    frame = pandas.DataFrame(minisacred.load_runs(tmp_path / "runs"))
    assert list(frame["_id"]) == [1, 2] and set(frame["status"]) == {"COMPLETED"}
    assert list(pandas.json_normalize(list(frame["config"]))["lr"]) == [0.25, 0.5]
    lines = pandas.read_json(tmp_path / "runs" / "2" / "metrics.jsonl", lines=True)
    assert list(lines.columns) == ["name", "step", "value", "timestamp"]
    assert list(lines["value"]) == [0.5, 0.25]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyMongo, to Incense
def test_incense_reads_runs_from_the_database(db, place, numpy):
    incense = pytest.importorskip("incense", reason="pip install incense")
    done = place(SOURCE, "with", "lr=0.5", "-m", db.url)
    assert done.code == 0, done.err
    loader = incense.ExperimentLoader(db.server.url, db.name, unpickle=False)
    read = loader.find_by_id(1)
    assert read.config.lr == 0.5 and read.result.score == 7
    assert list(read.metrics["loss"]) == [0.5, 0.25]
    assert set(read.artifacts) == {"a.txt"}
    loader._database.client.close()
