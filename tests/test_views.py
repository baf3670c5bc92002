"""Looking at runs: `ls` and `show` of the module's own command line."""

import gc
import json
import re
import runpy
import sys

import pytest
from helpers import ROOT, on_terminal

MODULE = ROOT / "minisacred.py"
TIME = "2026-01-31T12:0{}:05.000000"


def write_run(basedir, name, status="COMPLETED", config=None, metrics=None, **fields):
    """Write a run directory as the file observer does."""
    folder = basedir / str(name)
    folder.mkdir(parents=True)
    times = {"start_time": TIME.format(0), "stop_time": TIME.format(1), "heartbeat": TIME.format(1)}
    experiment = {"name": "exp", "base_dir": "/project", "mainfile": "exp.py"}
    shaped = {
        metric: {"steps": [*range(len(v))], "values": v, "timestamps": [TIME.format(0)] * len(v)}
        for metric, v in (metrics or {}).items()
    }
    run = {
        "command": "main", "status": status, **times, "result": None, "experiment": experiment,
        "host": {"hostname": "elsewhere"}, "meta": {}, "artifacts": [], "resources": [],
        "fail_trace": None, **fields,
    }  # fmt: skip
    files = {"run": run, "config": config or {}, "info": {}, "metrics": shaped}
    for stem, content in files.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def runs(tmp_path):
    """A directory of three runs which differ in lr and depth, and one of another status."""
    basedir = tmp_path / "runs"
    for number, lr in enumerate((0.1, 0.01, 0.5), 1):
        model = {"depth": number, "name": "net"}
        entries = {"config": {"lr": lr, "seed": number, "model": model, "loss": "mse"}}
        metrics = {"loss": [1.0, 0.25, lr / 2], "acc": [number if number > 1 else "NaN"]}
        write_run(basedir, number, **entries, metrics=metrics, result=lr * 10)
    model = {"depth": 1, "name": "net"}
    write_run(basedir, 10, "FAILED", config={"lr": 0.1, "model": model, "loss": "mse"})
    return basedir


@pytest.fixture
def call(monkeypatch, capsys):
    """`python -m minisacred …` in this process; gives exit code, output and errors."""

    def call(*argv):
        monkeypatch.setattr(sys, "argv", ["minisacred", *map(str, argv)])
        with pytest.raises(SystemExit) as end:
            runpy.run_module("minisacred", run_name="__main__")
        return (end.value.code or 0, *capsys.readouterr())

    yield call
    gc.enable()


@pytest.fixture
def listed(call, runs):
    """The ids that `ls` prints."""

    def listed(*argv):
        code, out, err = call("ls", runs, *argv)
        assert code == 0, err
        return [line.split()[0] for line in out.splitlines()[1:]]

    return listed


def test_ls_shows_what_differs_and_the_last_values_of_metrics(call, runs):
    code, out, _ = call("ls", runs)
    header, first, *_, last = out.splitlines()
    names = "id status command start duration lr seed model.depth result loss acc".split()
    assert sorted(header.replace("metrics.", "").split()) == sorted(names) and code == 0
    shown = {"1", "COMPLETED", "main", "2026-01-31", "12:00:05", "0:01:00", "0.1", "0.05"}
    assert shown <= {*first.split()}
    assert last.split()[:2] == ["10", "FAILED"]


def test_ls_of_some_runs_compares_only_these(call, runs):
    _, out, _ = call("ls", runs, "10", "1")
    assert "lr" not in out.split() and len(out.splitlines()) == 3


def test_ls_of_a_missing_run_names_it(call, runs):
    code, out, err = call("ls", runs, "7")
    assert code == 1 and out == "" and "'7'" in err and err.count("\n") == 1


def test_runs_are_listed_by_number(listed):
    assert listed() == ["1", "2", "3", "10"]


@pytest.mark.parametrize(
    "conditions, ids",
    [
        (["lr=0.1"], ["1", "10"]),
        (["lr!=0.1"], ["2", "3"]),
        (["lr<0.1"], ["2"]),
        (["lr<=0.1"], ["1", "2", "10"]),
        (["lr>0.1"], ["3"]),
        (["lr>=0.1", "model.depth=1"], ["1", "10"]),
        (["model.name=net", "status=FAILED"], ["10"]),
        (["config.loss=mse"], ["1", "2", "3", "10"]),
        (["metrics.loss<0.1"], ["1", "2"]),
        (["loss=mse"], ["1", "2", "3", "10"]),
        (["acc>=2"], ["2", "3"]),
        (["result>2"], ["3"]),
        (["id=3"], ["3"]),
    ],
)
def test_where_selects_by_column_entry_or_metric(listed, conditions, ids):
    assert listed("--where", *conditions) == ids
    assert listed(*[word for text in conditions for word in ("--where", text)]) == ids


def test_status_selects(listed):
    assert listed("--status", "FAILED") == ["10"]


@pytest.mark.parametrize(
    "key, ids",
    [("lr", "2 1 10 3"), ("metrics.loss", "2 1 3 10"), ("acc", "2 3 10 1"), ("id", "1 2 3 10")],
)
def test_sort_takes_columns_entries_and_metrics(listed, key, ids):
    assert listed("--sort", key) == ids.split()


@pytest.mark.parametrize(
    "argv, named", [(["--where", "lrr=1"], "'lrr'"), (["--sort", "accc"], "'accc'")]
)
def test_wrong_usage_is_one_line_that_names_what_is_right(call, runs, argv, named):
    code, out, err = call("ls", runs, *argv)
    assert code == 2 and out == "" and err.count("\n") == 1 and named in err


def test_json_is_an_object_a_line(call, runs):
    _, out, _ = call("ls", runs, "--json", "--where", "lr=0.1")
    found = [json.loads(line) for line in out.splitlines()]
    assert [run["status"] for run in found] == ["COMPLETED", "FAILED"]


def test_run_that_died_is_listed_as_dead(call, runs):
    write_run(runs, 11, "RUNNING", config={"lr": 0.1})
    assert call("ls", runs, "11")[1].splitlines()[1].split()[:2] == ["11", "DEAD"]
    assert call("ls", runs, "--status", "DEAD")[1].splitlines()[1].split()[0] == "11"


def test_damaged_run_is_listed_with_what_is_damaged(call, runs):
    (runs / "2" / "run.json").write_text("{")
    code, out, _ = call("ls", runs)
    assert code == 0 and "run.json" in out.splitlines()[2] and len(out.splitlines()) == 5


def test_table_is_cut_to_the_width_of_the_terminal(runs):
    write_run(runs, 11, config={"text": "x" * 300})
    out = on_terminal([MODULE, "ls", runs], runs, columns=60)
    plain = re.sub(r"\033\[[0-9;]*m", "", out)
    assert max(map(len, plain.splitlines())) == 60 and out != plain


def test_cells_of_a_piped_table_have_at_most_200_characters(call, runs):
    write_run(runs, 11, config={"text": "x" * 999}, result=[0] * 200_000)
    _, out, _ = call("ls", runs)
    assert len(out.splitlines()[-1]) < 600 and "x" * 190 in out and "x" * 201 not in out


def test_missing_directory_is_one_line(call, tmp_path):
    code, out, err = call("ls", tmp_path / "nowhere")
    assert code == 1 and out == "" and "nowhere" in err and err.count("\n") == 1


def test_show_tells_what_people_ask(call, runs):
    config = {"lr": 0.5, "model": {"depth": 3, "name": "net", "sizes": [1, 2]}}
    meta = {"comment": "a try", "modified": ["model.depth", "model.sizes.0"], "config_updates": {}}
    metrics = {"loss": [1.0, 0.25, 0.5], "of_sacred": [{"py/object": "numpy.ndarray"}, None, "a"]}
    write_run(
        runs, 12, config=config, metrics=metrics, result=0.75, meta=meta, artifacts=["net.pt"]
    )
    code, out, _ = call("show", runs, "12")
    assert code == 0
    for part in ("COMPLETED", "2026-01-31 12:00:05", "0:01:00", "0.75", "net.pt", "a try"):
        assert part in out
    assert str(runs / "12") in out
    assert re.search(r"loss +0\.5 +0\.25 +1\b", out)  # last, min, max
    assert re.findall(r"(?m)^\*.*\.(\w+) =", out) == ["depth", "sizes"]


def test_show_tells_why_a_run_failed(call, runs):
    trace = ["Traceback (most recent call last):\n"]
    trace += [f'  File "exp.py", line {n}, in f{n}\n    call()\n' for n in range(30)]
    write_run(runs, 12, "FAILED", fail_trace=[*trace, "ValueError: no\n"])
    out = call("show", runs, "12")[1]
    assert "in f29" in out and "in f2\n" not in out and "ValueError: no" in out
    assert "FAILED" in out


def test_show_of_a_missing_run_names_it(call, runs):
    code, out, err = call("show", runs, "99")
    assert code == 1 and out == "" and "'99'" in err and err.count("\n") == 1
