"""Run directories are read by the tools that people use."""

import json
import shutil
import subprocess

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
def main(lr, layers, _rnd, _run):
    assert type(lr) is float and layers == [0, 1, 2]
    assert isinstance(_rnd, numpy.random.Generator)
    _run.log_scalar("loss", numpy.float32(lr))
    _run.info["matrix"] = numpy.eye(2)
    return numpy.int64(7)
"""


@pytest.fixture
def runs(tmp_path):
    place = Workplace(tmp_path)
    for lr in (0.1, 0.2, 0.3):
        done = place(SOURCE, "with", f"lr={lr}", "-F", "runs")
        assert done.code == 0, done.err
    return tmp_path / "runs"


def test_pandas_reads_runs_and_metrics(runs):
    pandas = pytest.importorskip("pandas", reason="pip install pandas")
    frame = pandas.DataFrame(minisacred.load_runs(runs))
    assert list(frame["_id"]) == [1, 2, 3] and set(frame["status"]) == {"COMPLETED"}
    lines = pandas.read_json(runs / "2" / "metrics.jsonl", lines=True)
    assert list(lines.columns) == ["name", "step", "value", "timestamp"] and len(lines) == 1


def test_jq_reads_every_file(runs):
    if not shutil.which("jq"):
        pytest.skip("apt-get install jq")
    for path in runs.glob("*/*.json"):
        subprocess.run(["jq", "-e", "type", str(path)], check=True, capture_output=True)


def test_numpy_values_are_numbers_and_lists(runs):
    assert json.loads((runs / "1" / "config.json").read_text())["layers"] == [0, 1, 2]
    assert json.loads((runs / "1" / "info.json").read_text()) == {"matrix": [[1, 0], [0, 1]]}
    run = json.loads((runs / "1" / "run.json").read_text())
    assert run["result"] == 7
    assert any(name.startswith("numpy==") for name in run["experiment"]["dependencies"])


def test_yaml_files_are_configurations(tmp_path):
    pytest.importorskip("yaml", reason="pip install PyYAML")
    place = Workplace(tmp_path)
    (tmp_path / "c.yaml").write_text("a: 7\nd: {x: [1, 2]}\n")
    source = (
        "import yaml\nex.add_config(a=1, d={'x': []})\n@ex.main\ndef main(a, d):\n    print(a, d)\n"
    )
    done = place(source, "with", "c.yaml", "-F", "runs")
    assert done.out == "7 {'x': [1, 2]}\n"
    dependencies = place.run().run["experiment"]["dependencies"]
    assert any(name.startswith("PyYAML==") for name in dependencies)
    (tmp_path / "c.yaml").write_text("a: [")
    assert "is malformed" in place(source, "with", "c.yaml").err
