"""Values, files and readers of the libraries that people use: numpy, PyYAML, pandas."""

import json
import random

import pytest
from helpers import strict

from minisacred import SETTINGS, Experiment, FileStorageObserver, load_runs

WHAT = "pip install numpy PyYAML pandas"
numpy = pytest.importorskip("numpy", reason=WHAT)
yaml = pytest.importorskip("yaml", reason=WHAT)
pandas = pytest.importorskip("pandas", reason=WHAT)


@pytest.fixture
def ex(tmp_path):
    ex = Experiment("exp", base_dir=tmp_path, save_git_info=False)
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    return ex


@pytest.fixture
def file(tmp_path):
    """Return a function: the content of a JSON file of the first run."""
    return lambda name: strict((tmp_path / "runs" / "1" / name).read_text())


# -- numpy -------------------------------------------------------------------------------


def test_numpy_values_of_the_configuration_are_numbers_and_lists(ex, file):
    @ex.config
    def config():
        lr = numpy.float64(0.5)
        layers = numpy.arange(3)
        d = {numpy.int64(1): (numpy.bool_(True), numpy.eye(1))}

    ex.main(lambda lr, layers, d: repr((lr, layers, d)))
    assert ex.run(config_updates={"lr": numpy.float32(0.25)}).result == (
        "(0.25, [0, 1, 2], {1: [True, [[1.0]]]})"
    )
    assert file("config.json")["layers"] == [0, 1, 2]
    assert numpy.isnan(ex.run(config_updates={"lr": "NaN"}).config["lr"])


def test_numpy_values_and_keys_are_stored_as_what_they_hold(ex, file):
    @ex.main
    def main(_run):
        _run.info["acc"] = {k: 0.5 for k in numpy.unique([0, 1, 1])}
        _run.info["more"] = [numpy.float32(0.5), numpy.eye(2), numpy.float64("nan")]
        _run.log_scalar("loss", numpy.float32(0.5))
        return {k: numpy.int64(7) for k in numpy.array([True, False])}

    ex.run()
    assert file("info.json") == {
        "acc": {"0": 0.5, "1": 0.5},
        "more": [0.5, [[1, 0], [0, 1]], "NaN"],
    }
    assert file("run.json")["result"] == {"true": 7, "false": 7}
    assert file("metrics.json")["loss"]["values"] == [0.5]
    dependencies = file("run.json")["experiment"]["dependencies"]
    assert f"numpy=={numpy.__version__}" in dependencies


def test_numpy_is_seeded_before_the_scopes_and_before_main(ex):
    @ex.config
    def config():
        drawn = numpy.random.rand()

    ex.main(lambda: float(numpy.random.rand()))
    first, again = ex.run(config_updates={"seed": 7}), ex.run(config_updates={"seed": 7})
    assert first.config == again.config and first.result == again.result
    assert first.config["drawn"] == first.result  # seeded anew


@pytest.mark.parametrize("legacy, kind", [(False, "Generator"), (True, "RandomState")])
def test_rnd_is_a_generator_of_numpy_once_that_is_imported(ex, monkeypatch, legacy, kind):
    monkeypatch.setitem(SETTINGS.CONFIG, "NUMPY_RANDOM_LEGACY_API", legacy)

    @ex.main
    def main(_rnd, _seed):
        assert isinstance(_rnd, getattr(numpy.random, kind))
        return float(_rnd.uniform())

    assert ex.run(config_updates={"seed": 7}).result == ex.run(config_updates={"seed": 7}).result


# -- PyYAML ------------------------------------------------------------------------------


@pytest.mark.parametrize("dump", [yaml.dump, yaml.safe_dump])
def test_configuration_is_dumped_as_plain_yaml(ex, dump):
    ex.add_config(a=1, d={"x": [1, {"y": None}], "text": "1e-3"}, seed=7)
    ex.main(lambda _config: [dump(_config), dump({"part": _config["d"], "l": _config["d"]["x"]})])
    texts = ex.run().result
    config = {"a": 1, "d": {"x": [1, {"y": None}], "text": "1e-3"}, "seed": 7}
    assert "!!" not in "".join(texts)
    assert yaml.safe_load(texts[0]) == config
    assert yaml.safe_load(texts[1]) == {"part": config["d"], "l": config["d"]["x"]}


YAML = "lr: 1e-3\nbig: -1.5E+10\nday: 2026-01-31\nword: 1e\nlist: [1, 2.5, .5e2]\nd: {x: on}\n"


@pytest.mark.parametrize("name", ["c.yaml", "c.yml"])
def test_yaml_file_has_numbers_with_exponents_and_dates_as_text(ex, tmp_path, name):
    (tmp_path / name).write_text(YAML)
    ex.add_config(tmp_path / name)
    ex.main(lambda: None)
    config = ex.run(config_updates={"seed": 1}).config
    assert config == {
        "lr": 1e-3, "big": -1.5e10, "day": "2026-01-31", "word": "1e", "list": [1, 2.5, 50.0],
        "d": {"x": True}, "seed": 1,
    }  # fmt: skip


def test_typed_number_over_one_of_a_yaml_file_is_a_number(ex, tmp_path):
    (tmp_path / "c.yaml").write_text(YAML)
    ex.add_config(tmp_path / "c.yaml")
    ex.main(lambda: None)
    assert ex.run_commandline("exp.py with lr=1e-4").config["lr"] == 1e-4


def test_saved_yaml_is_read_back(ex, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ex.add_config(d={"x": [1, None], "rate": 1e-3, "day": "2026-01-31"})
    ex.run("save_config", config_updates={"seed": 1, "config_filename": "saved.yaml"})
    ex.main(lambda: None)
    first = ex.run(config_updates={"seed": 1}).config
    assert ex.run(named_configs=["saved.yaml"]).config == first


# -- readers -----------------------------------------------------------------------------


def test_pandas_reads_runs_and_metrics(ex, tmp_path):
    ex.add_config(lr=0.1)

    @ex.main
    def main(lr, _run):
        _run.log_scalar("loss", random.random())

    for lr in (0.1, 0.2):
        ex.run(config_updates={"lr": lr})
    frame = pandas.DataFrame(load_runs(tmp_path / "runs"))
    assert list(frame["_id"]) == [1, 2] and set(frame["status"]) == {"COMPLETED"}
    lines = pandas.read_json(tmp_path / "runs" / "2" / "metrics.jsonl", lines=True)
    assert list(lines.columns) == ["name", "step", "value", "timestamp"] and len(lines) == 1
    assert json.loads((tmp_path / "runs" / "2" / "config.json").read_text())["lr"] == 0.2
