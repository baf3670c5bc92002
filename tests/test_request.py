"""What runs are asked for: from Python, by hooks and options, and once more later."""

import json

import pytest
from helpers import RunFiles

from minisacred import Experiment, FileStorageObserver, Ingredient, SacredError, load_runs


@pytest.fixture
def ex(ex):
    ex.add_config(a=1, tree={"b": {"c": 2, "d": 3}})
    ex.ingredients.append(Ingredient("without_entries", save_git_info=False))
    ex.add_named_config("named", a=10)
    ex.add_named_config("more", {"a": 20, "tree": {"b": {"c": 30}}})

    @ex.config
    def step_by_step():
        steps, done = {}, []
        for name in ("first", "second"):
            steps[name] = 1
            done.append(name)

    @ex.main
    def main(a, tree):
        return [a, tree["b"]["c"], tree["b"]["d"]]

    @ex.command
    def other(a):
        return a

    return ex


@pytest.mark.parametrize(
    "updates, result",
    [
        ({"tree": {"b": {"c": 5}}}, [1, 5, 3]),
        ({"tree.b.c": 5}, [1, 5, 3]),
        ({"tree.b": {"c": 5}}, [1, 5, 3]),
        ({"tree": {"b.c": 5}}, [1, 5, 3]),
        ({"a": 7, "tree.b.c": 5, "tree.b.d": 6}, [7, 5, 6]),
        (None, [1, 2, 3]),
    ],
)
def test_updates_are_nested_or_dotted_at_any_depth(ex, updates, result):
    assert ex.run(config_updates=updates).result == result


def test_named_configs_apply_in_order_below_updates(ex):
    assert ex.run(named_configs=["named", "more"]).result == [20, 30, 3]
    assert ex.run(named_configs=["more", "named"]).result == [10, 30, 3]
    assert ex.run(named_configs="named", config_updates={"a": 5}).result == [5, 2, 3]


def test_command_is_chosen_by_its_name(ex):
    run = ex.run("other", {"a": 4}, ["more"])
    assert run.result == 4 and run.meta_info["command"] == "other"


def test_info_and_meta_info_are_recorded(ex, tmp_path):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    ex.run(info={"note": 1}, meta_info={"comment": "c", "mine": [1]}, config_updates={"a": 4})
    files = RunFiles(tmp_path / "runs" / "1")
    meta = files.run["meta"]
    assert files.info == {"note": 1} and (meta["comment"], meta["mine"]) == ("c", [1])
    assert meta["config_updates"] == {"a": 4}


@pytest.mark.parametrize("name", ["--beat-interval", "beat_interval", "--beat_interval"])
def test_options_are_those_of_the_command_line(ex, name):
    assert ex.run(options={name: 3}).beat_interval == 3
    with pytest.raises(SacredError, match="beat_interva.*beat_interval"):
        ex.run(options={"beat_interva": 3})


def test_file_storage_is_an_option_too(ex, tmp_path):
    ex.run(options={"--file_storage": str(tmp_path / "runs")})
    assert RunFiles(tmp_path / "runs" / "1").run["result"] == [1, 2, 3]


def test_option_hooks_see_the_options_and_may_change_them(ex):
    seen = {}

    @ex.option_hook
    def hook(options):
        seen.update(options)
        options["--beat-interval"] = 7
        options["--unobserved"] = True

    run = ex.run_commandline("exp.py other -c text with a=3")
    assert (run.beat_interval, run.unobserved) == (7, True)
    assert (seen["--comment"], seen["--force"]) == ("text", False)


def test_queue_records_a_run_and_returns_its_id(ex, tmp_path):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    asked = {"config_updates": {"a": 5}, "named_configs": ["more"], "options": {"comment": "c"}}
    assert str(ex.queue("other", info={"n": 1}, meta_info={"m": 2}, **asked)) == "1"
    files = RunFiles(tmp_path / "runs" / "1")
    assert (files.run["status"], files.run["command"]) == ("QUEUED", "other")
    assert files.config["a"] == 5 and files.config["tree"]["b"]["c"] == 30
    meta = files.run["meta"]
    assert (meta["config_updates"], meta["named_configs"]) == ({"a": 5}, ["more"])
    assert (meta["comment"], meta["m"], files.run["result"]) == ("c", 2, None)
    assert again(ex, "--start-queued").info == {"n": 1}


def test_queue_needs_an_observer(ex):
    with pytest.raises(SacredError, match="-F DIR"):
        ex.queue()


def again(ex, option, run_id="1"):
    return ex.run_commandline(f"exp.py {option} {run_id}")


@pytest.fixture
def queued(ex, tmp_path):
    """A run that waits to be started."""
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    ex.queue(config_updates={"tree.b.c": 5, "seed": 9}, named_configs=["named"])
    return RunFiles(tmp_path / "runs" / "1")


def test_start_queued_starts_the_run_in_its_own_directory(ex, queued, caplog):
    before = queued.config
    run = again(ex, "--start-queued")
    assert run.result == [10, 5, 3] and not run.resumed and "recorded" not in caplog.text
    assert (queued.run["status"], queued.config) == ("COMPLETED", before)
    assert len(list(load_runs(queued.path.parent))) == 1


def test_start_queued_keeps_command_and_options(ex, tmp_path):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    ex.queue("other", options={"beat_interval": 3, "capture": "no", "comment": "c", "name": "n"})
    run = again(ex, "--start-queued")
    files = RunFiles(tmp_path / "runs" / "1")
    assert (run.result, run.beat_interval, run.capture_mode) == (1, 3, "no")
    assert files.run["meta"]["comment"] == "c" and files.run["command"] == "other"
    assert files.run["experiment"]["name"] == "n"


def test_start_queued_takes_what_the_sources_yield_otherwise_as_recorded(ex, queued, caplog):
    ex.add_config(a=1, tree={"b": {"d": 4}})  # d was 3
    assert again(ex, "--start-queued").result == [10, 5, 3]
    (note,) = [r.getMessage() for r in caplog.records if "recorded" in r.getMessage()]
    assert note.endswith(": tree.b.d")


def test_start_queued_keeps_and_names_what_is_new_in_the_sources(ex, queued, caplog):
    ex.add_config(fresh=[1])
    assert again(ex, "--start-queued").config["fresh"] == [1]
    assert "fresh" in caplog.text and queued.config["fresh"] == [1]


def test_start_queued_fails_where_the_sources_no_longer_take_an_entry(ex, tmp_path):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    ex.add_config(extra=1)
    ex.queue(config_updates={"extra": 2})
    ex.configurations.pop()
    with pytest.raises(SystemExit) as error:
        again(ex, "--start-queued")
    run = RunFiles(tmp_path / "runs" / "1").run
    assert (error.value.code, run["status"]) == (1, "FAILED")
    assert "extra" in "".join(run["fail_trace"])


@pytest.mark.parametrize("is_whole", [False, True])
def test_start_queued_takes_what_a_config_hook_adds(ex, tmp_path, caplog, is_whole):
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))

    @ex.config_hook
    def hook(config, command_name, logger):
        extra = {"extra": {"b": 6}} if config["a"] == 5 else {}
        return {**(config if is_whole else {}), **extra}

    ex.queue(config_updates={"a": 5})
    ex.add_config(tree={"b": {"d": 4}})  # what was recorded is fixed, the hook's entry, too
    config = again(ex, "--start-queued").config
    assert ex.run(config_updates=config).config["extra"] == {"b": 6} and "added" not in caplog.text


@pytest.mark.parametrize(
    "kind, given", [("path", "x"), ("number", float("inf")), ("list", {0: (1, 2)}), ("none", None)]
)
def test_queued_values_are_given_back_as_they_were(tmp_path, caplog, kind, given):
    ex = Experiment("exp", save_git_info=False)
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    ex.add_config(path=tmp_path, number=0.5, list=[1], none="text")
    ex.main(lambda _config: [repr(_config[kind]), type(_config[kind]).__name__])
    direct = ex.run(config_updates={kind: given}).result
    ex.queue(config_updates={kind: given})
    assert again(ex, "--start-queued", "2").result == direct and "recorded" not in caplog.text


@pytest.mark.parametrize("words", ["with a=2", "other", "-u", "-q", "-i x", "with named"])
def test_run_that_is_started_again_keeps_its_request(ex, queued, capsys, words):
    before = (queued.path / "run.json").read_bytes()
    with pytest.raises(SystemExit) as error:
        ex.run_commandline(f"exp.py --start-queued 1 {words}")
    assert error.value.code == 2 and capsys.readouterr().err.count("\n") == 1
    assert (queued.path / "run.json").read_bytes() == before


@pytest.fixture
def training(tmp_path):
    """An experiment that fails in its first attempts, and what it has recorded."""
    ex = Experiment("exp", save_git_info=False)
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    ex.add_config(lr=0.1, fail=["yes"])

    @ex.main
    def main(_run, lr):
        print("resumed" if _run.resumed else "fresh")
        checkpoint = tmp_path / "runs" / "1" / "checkpoint"
        assert _run.dir == str(checkpoint.parent)
        epoch = int(checkpoint.read_text()) if _run.resumed else 0
        checkpoint.write_text(str(epoch + 2))
        _run.log_scalar("loss", epoch)
        _run.log_scalar("loss", epoch + 1)
        _run.info[str(epoch)] = lr
        if epoch < 4:
            raise ValueError("too early")
        return epoch

    with pytest.raises(ValueError, match="too early"):
        ex.run(config_updates={"lr": 0.5}, options={"comment": "long"})
    return ex, RunFiles(tmp_path / "runs" / "1")


def test_resumed_run_goes_on_in_its_own_directory(training):
    ex, files = training
    config, first = files.config, files.run
    with open(files.path / "metrics.jsonl", "ab") as file:
        file.write(b'{"name": "lo')  # torn by a kill; it is repaired
    with pytest.raises(SystemExit):
        again(ex, "--resume")
    assert again(ex, "--resume").result == 4
    one, two = files.run["attempts"]
    for field in ("start_time", "stop_time", "status"):
        assert one[field] == first[field]
    assert one["host"]["pid"] == first["host"]["pid"] and two["status"] == "FAILED"
    assert files.cout.split() == ["fresh", "resumed", "resumed"]
    assert files.metrics["loss"]["steps"] == [0, 1, 2, 3, 4, 5]
    assert files.metrics["loss"]["values"] == [line["value"] for line in files.lines]
    assert files.info == {"0": 0.5, "2": 0.5, "4": 0.5} and files.config == config
    assert files.run["meta"]["comment"] == "long" and files.run["fail_trace"] is None


def test_run_that_died_is_resumed(training):
    ex, files = training
    run = files.run
    run.update(status="RUNNING", stop_time=None, host={**run["host"], "process_start": 1.5})
    (files.path / "run.json").write_text(json.dumps(run))
    assert [run["status"] for run in load_runs(files.path.parent)] == ["DEAD"]
    with pytest.raises(SystemExit):
        again(ex, "--resume")
    assert files.run["attempts"][0]["status"] == "DEAD"


def alive(run):
    return {**run, "status": "RUNNING", "stop_time": None}


@pytest.mark.parametrize(
    "option, change, named",
    [
        ("--resume", lambda run: {**run, "status": "COMPLETED"}, "completed"),
        ("--resume", lambda run: {**run, "status": "QUEUED"}, "queued"),
        ("--resume", alive, "running"),
        ("--start-queued", lambda run: run, "FAILED"),
        ("--start-queued", alive, "RUNNING"),
        ("--resume 7 -F", None, "'7'"),
        ("--start-queued ../runs/1 -F", None, "../runs/1"),
    ],
)
def test_what_may_not_be_started_is_refused_and_left(training, capsys, option, change, named):
    ex, files = training
    if change:
        (files.path / "run.json").write_text(json.dumps(change(files.run)))
    place = files.path.parent.parent
    contents = lambda: {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
    before, words = contents(), option if " " in option else f"{option} 1 -F"
    capsys.readouterr()
    with pytest.raises(SystemExit) as error:
        ex.run_commandline(f"exp.py {words} '{files.path.parent}'")
    assert error.value.code == 1 and named in capsys.readouterr().err
    assert contents() == before
