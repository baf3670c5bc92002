"""Looking at runs: `ls`, `show` and `diff` of the module's own command line."""

import datetime
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from helpers import ROOT, environment

from minisacred import load_runs

MODULE = str(ROOT / "minisacred.py")


def write_run(basedir, name, status="COMPLETED", config=None, metrics=None, **fields):
    """Write a run directory as the file observer does."""
    folder = basedir / str(name)
    folder.mkdir(parents=True)
    run = {
        "command": "main",
        "status": status,
        "start_time": "2026-01-31T12:00:00.000000",
        "stop_time": "2026-01-31T12:01:05.000000",
        "heartbeat": "2026-01-31T12:01:05.000000",
        "result": None,
        "experiment": {"name": "exp", "base_dir": "/project", "mainfile": "exp.py"},
        "host": {"hostname": "elsewhere", "python_version": "3.11.7"},
        "meta": {},
        "artifacts": [],
        "resources": [],
        **fields,
    }
    shaped = {
        metric: {
            "steps": list(range(len(values))),
            "values": values,
            "timestamps": ["2026-01-31T12:00:00.000000"] * len(values),
        }
        for metric, values in (metrics or {}).items()
    }
    for filename, content in (
        ("run.json", run),
        ("config.json", config or {}),
        ("info.json", {}),
        ("metrics.json", shaped),
    ):
        (folder / filename).write_text(json.dumps(content))
    return folder


def call(*argv, cwd=None):
    return subprocess.run(
        [sys.executable, MODULE, *map(str, argv)],
        capture_output=True,
        text=True,
        env=environment(PYTHONIOENCODING="utf-8"),
        cwd=cwd,
        timeout=60,
    )


def on_terminal(columns, *argv, **env):
    """Return what a command prints on a terminal of so many columns."""
    master, slave = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, MODULE, *map(str, argv)],
        stdout=slave,
        stderr=slave,
        env=environment(PYTHONIOENCODING="utf-8", **env),
    )
    os.close(slave)
    data = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:
            break
        if not block:
            break
        data += block
    os.close(master)
    assert process.wait(60) == 0, data
    return data.decode().replace("\r\n", "\n")


def plain(text):
    return re.sub("\033\\[[0-9;]*[mK]", "", text)


@pytest.fixture
def runs(tmp_path):
    """A directory of three runs which differ in lr, and one of another status."""
    basedir = tmp_path / "runs"
    for number, lr in enumerate((0.1, 0.01, 0.5), 1):
        write_run(
            basedir,
            number,
            config={"lr": lr, "seed": number, "model": {"depth": number, "name": "net"}},
            metrics={"loss": [1.0, 0.5, lr / 2]},
            result=lr * 10,
        )
    write_run(
        basedir, 10, status="FAILED", config={"lr": 0.1, "model": {"depth": 1, "name": "net"}}
    )
    return basedir


def ids(done):
    assert not done.returncode, done.stderr
    return [line.split()[0] for line in done.stdout.splitlines()[1:]]


def test_ls_shows_the_entries_that_differ_and_the_last_values(runs):
    header, first, *_ = call("ls", runs).stdout.splitlines()
    assert header.split() == ("id status command start duration lr model.depth result loss".split())
    assert first.split() == "1 COMPLETED main 2026-01-31 12:00:00 0:01:05 0.1 1 1 0.05".split()


def test_ls_sorts_ids_as_numbers(runs):
    assert ids(call("ls", runs)) == ["1", "2", "3", "10"]


def test_ls_of_some_runs_compares_only_these(runs):
    assert "lr" not in call("ls", runs, 1, 10).stdout.splitlines()[0].split()


def test_ls_names_a_run_that_is_missing(runs):
    done = call("ls", runs, 4)
    assert (done.returncode, done.stderr) == (
        1,
        f"minisacred: error: there is no run '4' in {runs}\n",
    )


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("lr > 0.05", ["1", "3", "10"]),
        ("lr > 0.05 and status == 'COMPLETED'", ["1", "3"]),
        ("not lr > 0.05", ["2"]),
        ("0.05 < lr < 0.2 or model.depth == 3", ["1", "3", "10"]),
        ("loss <= 0.05", ["1", "2"]),
        ("id in (2, 10)", ["2", "10"]),
        ("status != 'COMPLETED'", ["10"]),
        ("result is None", ["10"]),
        ("config.lr == 0.5 and metrics.loss > -1", ["3"]),
        ("duration >= 65", ["1", "2", "3", "10"]),
        ("model.name < 3", []),
        ("model['name'] == 'net' and metrics['loss'] < 0.1", ["1", "2"]),
    ],
)
def test_where_selects(runs, condition, found):
    assert ids(call("ls", runs, "--where", condition)) == found


@pytest.mark.parametrize(
    "condition",
    ["__import__('os').system('echo hacked')", "lr + 1", "[x for x in 'a']", "lr >", "f'{lr}'", ""],
)
def test_where_refuses_all_but_comparisons(runs, condition):
    done = call("ls", runs, "--where", condition)
    assert "hacked" not in done.stdout
    if condition:
        assert done.returncode == 2
        assert done.stderr.startswith("minisacred: error: --where")
        assert done.stderr.count("\n") == 1


def test_names_that_are_no_identifiers_are_written_in_brackets(tmp_path):
    write_run(tmp_path, 1, metrics={"train/loss": [0.5]}, config={"d": {"weight-decay": 2}})
    write_run(tmp_path, 2, metrics={"train/loss": [1.5]}, config={"d": {"weight-decay": 0}})
    assert ids(call("ls", tmp_path, "--where", 'metrics["train/loss"] < 1')) == ["1"]
    assert ids(call("ls", tmp_path, "--where", "config.d['weight-decay'] < 1")) == ["2"]


def test_runs_without_the_value_come_last_in_either_order(tmp_path):
    for number, losses in enumerate(([0.5], [], ["NaN"], [1.5]), 1):
        write_run(tmp_path, number, metrics={"loss": losses})
    assert ids(call("ls", tmp_path, "--sort", "loss"))[:2] == ["1", "4"]
    assert ids(call("ls", tmp_path, "--sort=-loss"))[:2] == ["4", "1"]


def test_ls_says_so_when_there_is_nothing_to_list(runs, tmp_path):
    done = call("ls", runs, "--status", "NONE")
    assert (done.stdout, done.stderr) == ("", f"no run in {runs} is like that\n")
    (tmp_path / "empty").mkdir()
    assert call("ls", tmp_path / "empty").stderr == f"no run in {tmp_path / 'empty'}\n"


def test_text_without_quotes_is_told_of(runs):
    done = call("ls", runs, "--where", "status == FAILED")
    assert (
        done.returncode == 2
        and "no run has 'FAILED'; a text needs quotes: \"FAILED\"" in done.stderr
    )


def test_show_says_how_to_start_a_queued_run(tmp_path):
    write_run(tmp_path, 1, status="QUEUED")
    assert "--start-queued 1 -F" in call("show", tmp_path, "1").stdout


def test_where_and_sort_name_the_closest_column(runs):
    assert "no run has 'los'; did you mean 'loss'?" in call("ls", runs, "--where", "los < 1").stderr
    assert "no run has 'los'; did you mean 'loss'?" in call("ls", runs, "--sort", "los").stderr


def test_sort_puts_what_is_missing_last(runs):
    assert ids(call("ls", runs, "--sort", "loss")) == ["2", "1", "3", "10"]
    assert ids(call("ls", runs, "--sort", "model.depth"))[-1] == "3"


def test_sort_falls_with_a_minus(runs):
    assert ids(call("ls", runs, "--sort=-lr"))[0] == "3"


def test_sort_takes_the_names_that_where_takes(runs):
    assert ids(call("ls", runs, "--sort", 'metrics["loss"]')) == ["2", "1", "3", "10"]


def test_hints_find_what_differs_in_case(runs):
    assert "no run has 'LR'; did you mean 'lr'?" in call("ls", runs, "--sort", "LR").stderr


def test_status_filters(runs):
    assert ids(call("ls", runs, "--status", "failed")) == ["10"]


def test_json_gives_an_object_a_line(runs):
    rows = [json.loads(line) for line in call("ls", runs, "--json").stdout.splitlines()]
    assert rows[0]["config"] == {"lr": 0.1, "seed": 1, "model": {"depth": 1, "name": "net"}}
    assert rows[0]["metrics"] == {"loss": 0.05}
    assert [row["_id"] for row in rows] == [1, 2, 3, 10]


def test_a_damaged_run_is_a_row_that_says_so(runs):
    (runs / "2" / "run.json").write_text("{")
    (line,) = [line for line in call("ls", runs).stdout.splitlines() if "DAMAGED" in line]
    assert line.split()[0] == "2" and "run.json" in line
    assert "run.json" in call("show", runs, 2).stdout


def test_a_run_whose_process_is_gone_is_dead(runs):
    run = json.loads((runs / "1" / "run.json").read_text())
    (runs / "1" / "run.json").write_text(json.dumps({**run, "status": "RUNNING"}))
    assert call("ls", runs, 1).stdout.splitlines()[1].split()[1] == "DEAD"


@pytest.mark.parametrize("columns", [80, 200])
def test_a_table_fits_the_terminal(runs, columns):
    write_run(runs, 11, config={"lr": 1, "text": "x" * 300})
    for number in range(100, 400):
        write_run(runs, number, config={"lr": number / 7}, metrics={"loss": [number]})
    lines = plain(on_terminal(columns, "ls", runs)).splitlines()
    assert len(lines) == 306
    assert max(map(len, lines)) <= columns
    assert ("result" in lines[0]) == (columns == 200)


def test_a_pipe_gets_the_whole_table(runs):
    write_run(runs, 11, config={"lr": 1, "text": "x" * 300})
    assert "x" * 300 in call("ls", runs).stdout


def test_colours_are_for_terminals_only(runs):
    assert "\033[31mFAILED\033[0m" in on_terminal(80, "ls", runs)
    assert "\033" not in on_terminal(80, "ls", runs, NO_COLOR="1")
    assert "\033" not in call("ls", runs).stdout


def test_numbers_are_aligned_to_the_right(runs):
    lines = call("ls", runs).stdout.splitlines()
    end = lines[0].index(" lr ") + 3
    assert [line[:end].split()[-1] for line in lines[1:]] == ["0.1", "0.01", "0.5", "0.1"]


def test_show_tells_what_a_person_asks(runs):
    write_run(
        runs,
        11,
        status="FAILED",
        config={"lr": 0.3, "deep": {"x": 1}},
        metrics={"loss": [3.0, 2.0, 1.0], "strange": ["NaN"]},
        fail_trace=["Traceback (most recent call last):\n", "ValueError: no good\n"],
        meta={"config_updates": {"deep": {"x": 1}}, "comment": "a try"},
        artifacts=["model.bin"],
    )
    out = call("show", runs, 11).stdout
    assert "FAILED" in out and "ValueError: no good" in out and "'a try'" in out
    assert "* deep.x = 1" in out and "  lr = 0.3" in out
    assert re.search(r"loss +1 +1 +3 +█▄▁ +2\n", out)
    assert re.search(r"strange +NaN +0\n", out)
    assert "model.bin" in out and str(runs / "11") in out
    again = f"python /project/exp.py main with {runs}/11/config.json -F {runs}"
    assert again in out


def test_diff_shows_what_differs_and_nothing_else(runs):
    (runs / "_sources").mkdir()
    (runs / "_sources" / "exp_a.py").write_text("x = 1\ny = 2\n")
    (runs / "_sources" / "exp_b.py").write_text("x = 1\ny = 3\n")
    for number, letter in ((1, "a"), (2, "b")):
        path = runs / str(number) / "run.json"
        run = json.loads(path.read_text())
        run["experiment"].update(
            sources=[["exp.py", f"_sources/exp_{letter}.py"]],
            dependencies=["same==1", f"numpy==1.{number}"],
            repositories=[{"url": "u", "commit": letter * 40, "dirty": False}],
        )
        path.write_text(json.dumps(run))
    out = call("diff", runs, 1, 2).stdout
    assert "- lr = 0.1\n+ lr = 0.01\n" in out
    assert "- numpy = '1.1'\n+ numpy = '1.2'\n" in out
    assert "-y = 2\n+y = 3\n" in out
    assert "a" * 40 in out and "b" * 40 in out
    assert "same" not in out and "name" not in out


def test_diff_says_that_other_commands_ran_and_what_is_none(tmp_path):
    write_run(tmp_path, 1, command="main", config={"a": 1, "b": None})
    write_run(tmp_path, 2, command="other", config={"a": 1})
    for number, space in ((1, "boot-1:7"), (2, "boot-2:7")):
        path = tmp_path / str(number) / "run.json"
        run = json.loads(path.read_text())
        run["host"].update(pid=number, pid_space=space, process_start=number)
        path.write_text(json.dumps(run))
    out = call("diff", tmp_path, 1, 2).stdout
    assert "what was run\n- command = 'main'\n+ command = 'other'\n" in out
    assert "- b = None\n" in out and "+ b" not in out
    assert "host" not in out and "pid" not in out


def test_show_tells_the_priority_and_the_range_of_large_values(tmp_path):
    write_run(tmp_path, 1, status="QUEUED", metrics={"m": [1.5, -1e301]})
    path = tmp_path / "1" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "meta": {"priority": 7.0}}))
    out = call("show", tmp_path, 1).stdout
    assert re.search("priority +7.0", out) and re.search(r"-1e\+301 +-1e\+301 +1.5", out)


def test_wrong_usage_is_one_line():
    for argv in ([], ["show"], ["lss", "runs"], ["ls", "/nonexistent/runs"]):
        done = call(*argv)
        assert done.returncode in (1, 2)
        assert done.stderr.startswith("minisacred: error: ") and done.stderr.count("\n") == 1


def test_a_reader_that_stops_reading_is_no_error(runs):
    for number in range(100, 400):
        write_run(runs, number, config={"lr": number, "text": "x" * 500})
    command = f"{sys.executable} {MODULE} ls {runs} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment())
    assert done.stdout.startswith(" id") and done.stderr == ""


def test_runs_as_a_module_too(runs):
    done = subprocess.run(
        [sys.executable, "-m", "minisacred", "ls", str(runs)],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert ids(done) == ["1", "2", "3", "10"]


def test_entries_with_names_of_columns_hide_nothing(tmp_path):
    for n in (1, 2):
        config = {"status": f"mine {n}", "lr": n}
        write_run(tmp_path, n, config=config, metrics={"lr": [0.5], "id": [n]}, result=n)
    header, *rows = call("ls", tmp_path).stdout.splitlines()
    for name in ("status", "config.status", "lr", "metrics.lr", "metrics.id"):
        assert f" {name}" in header
    assert all("COMPLETED" in row and "mine" in row for row in rows)


def test_ls_shows_seeds_that_were_given(tmp_path):
    for n in (1, 2):
        write_run(tmp_path, n, config={"seed": n}, meta={"config_updates": {"seed": n}})
    assert " seed" in call("ls", tmp_path).stdout
    for n in (3, 4):
        write_run(tmp_path / "drawn", n, config={"seed": n})
    assert " seed" not in call("ls", tmp_path / "drawn").stdout


@pytest.mark.parametrize("columns", [80, 200])
def test_wide_characters_take_two_columns_of_a_terminal(tmp_path, columns):
    for n in (1, 2):
        write_run(
            tmp_path,
            n,
            config={"name": "\u6f22\u5b57" * 14 + str(n), "b": n},
            metrics={"\u640d\u5931": [n]},
        )
    lines = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(columns, "ls", tmp_path)).splitlines()
    widths = [sum(2 if ord(c) > 0x2E80 else 1 for c in line) for line in lines]
    assert max(widths) <= columns
    starts = {
        sum(2 if ord(c) > 0x2E80 else 1 for c in line[: line.index(" main ")]) for line in lines[1:]
    }
    assert len(starts) == 1


def test_names_of_metrics_cannot_break_the_table(tmp_path):
    write_run(tmp_path, 1, metrics={"new\nline\x1b[31m": [1]})
    out = call("ls", tmp_path).stdout
    assert len(out.splitlines()) == 2 and "\x1b" not in out


def test_damaged_run_says_so_on_a_narrow_terminal_and_makes_no_columns(tmp_path):
    for n in (1, 2):
        write_run(tmp_path, n, config={f"entry_{i}": "a rather long value" for i in range(9)})
    (tmp_path / "2" / "config.json").write_text("")
    out = on_terminal(80, "ls", tmp_path)
    assert "config.json: Expecting value" in out and "entry_1" not in out


def test_options_stand_anywhere(tmp_path):
    for n in (1, 2):
        write_run(tmp_path, n)
    assert json.loads(call("ls", tmp_path, "--json", 2).stdout)["_id"] == 2
    assert json.loads(call("ls", "--json", tmp_path, 1).stdout)["_id"] == 1


def test_values_of_other_types_differ(tmp_path):
    write_run(tmp_path, 1, config={"x": 1})
    write_run(tmp_path, 2, config={"x": "1"})
    assert "- x = 1\n+ x = '1'\n" in call("diff", tmp_path, 1, 2).stdout
    assert " x" in call("ls", tmp_path).stdout.splitlines()[0]


def test_sources_with_other_line_ends_differ(tmp_path):
    (tmp_path / "_sources").mkdir()
    for n, end in ((1, "\n"), (2, "\r\n")):
        (tmp_path / "_sources" / f"exp_{n}.py").write_bytes(f"a = 1{end}".encode())
        experiment = {"name": "exp", "sources": [["exp.py", f"_sources/exp_{n}.py"]]}
        write_run(tmp_path, n, experiment=experiment)
    assert "exp.py: other line ends\n" in call("diff", tmp_path, 1, 2).stdout


def test_show_has_the_last_frames_of_a_failure_with_a_long_message(tmp_path):
    trace = 'Traceback (most recent call last):\n  File "exp.py", line 3, in main\n    raise\n'
    message = "ValueError: line 0\n" + "".join(f"line {i}\n" for i in range(1, 30))
    write_run(tmp_path, 1, status="FAILED", fail_trace=(trace + message).splitlines(keepends=True))
    out = call("show", tmp_path, 1).stdout
    assert 'File "exp.py", line 3' in out and "ValueError: line 0" in out and "line 29" not in out


def test_show_marks_what_a_named_config_has_changed(tmp_path):
    meta = {"named_configs": ["big"], "config_updates": {}, "modified": ["lr"]}
    write_run(tmp_path, 1, config={"lr": 10, "n": 1}, meta=meta)
    out = call("show", tmp_path, 1).stdout
    assert "* lr = 10\n" in out and "  n = 1\n" in out and "big" in out


@pytest.mark.parametrize(
    "field", [{"experiment": "x"}, {"meta": "x"}, {"fail_trace": 5}, {"host": [1]}], ids=str
)
def test_records_of_a_wrong_shape_are_shown_as_damaged(tmp_path, field):
    write_run(tmp_path, 1, **field)
    write_run(tmp_path, 2)
    (tmp_path / "2" / "metrics.json").write_text('{"loss": {"values": 5}}')
    for command in (
        ["ls", tmp_path],
        ["show", tmp_path, 1],
        ["show", tmp_path, 2],
        ["diff", tmp_path, 1, 2],
    ):
        done = call(*command)
        assert done.returncode == 0 and not done.stderr, done.stderr
    assert f"run.json: {next(iter(field))} is no" in call("show", tmp_path, 1).stdout


def test_command_that_runs_a_run_again_does(place):
    place.write("", "pack/__init__.py", header="", footer="")
    source = """
    import os, sys
    from minisacred import Experiment
    ex = Experiment("exp")
    @ex.command
    def main():
        return "the other one"
    @ex.automain
    def train(a=1):
        return open("data").read() + str(a)
    """
    place.write(source, "pack/exp.py", header="", footer="")
    (place.path / "data").write_text("read")
    assert place.python("-m", "pack.exp", "-F", "runs", "with", "a=2").code == 0
    again = re.search("again +(.*)", call("show", place.path / "runs", 1, cwd="/").stdout)[1]
    command = again.replace("python ", f"{sys.executable} ", 1)
    subprocess.run(command, shell=True, check=True, cwd="/", env=environment(), timeout=60)
    assert place.run("2").run["result"] == place.run("1").run["result"] == "read2"


@pytest.mark.parametrize(
    "field",
    [
        {"stop_time": "2026-01-31T12:00:00+01:00"},
        {"meta": {"config_updates": 5}},
        {"command": "\ud800"},
        {"experiment": {"repositories": [None], "sources": 5}},
        {"meta": {"options": 5, "modified": [5]}},
    ],
    ids=str,
)
def test_strange_records_cost_themselves_only(tmp_path, field):
    write_run(tmp_path, 1, **field)
    write_run(tmp_path, 2)
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "run.json").write_text('{"status": "COMPLETED"}')
    (tmp_path / "3" / "config.json").write_text("{}")
    line = '{"name": 5, "step": 0, "value": 1, "timestamp": "x"}\n'
    (tmp_path / "3" / "metrics.jsonl").write_text(line)
    done = call("ls", tmp_path)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 4, done.stderr
    for command in (["show", tmp_path, 1], ["diff", tmp_path, 1, 2], ["show", tmp_path, 3]):
        done = call(*command)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or "is damaged: " in done.stderr


def test_what_a_terminal_cannot_show_is_escaped(tmp_path):
    write_run(tmp_path, 1, config={"name": "größe"}, metrics={"loss": [1, 2]}, result="→")
    write_run(tmp_path, 2, config={"name": "b"})
    env = environment(PYTHONIOENCODING="ascii")
    for words in (["ls"], ["ls", "--json"], ["show", "1"], ["diff", "1", "2"]):
        command, *more = words
        argv = [sys.executable, MODULE, command, str(tmp_path), *more]
        done = subprocess.run(argv, env=env, capture_output=True)
        assert done.returncode == 0 and done.stderr == b"" and b"gr\\" in done.stdout
        if "--json" in words:
            assert json.loads(done.stdout.splitlines()[0])["config"] == {"name": "größe"}


def test_record_with_a_status_that_is_no_text_hides_no_others(tmp_path):
    write_run(tmp_path, 1, status=["x"])
    write_run(tmp_path, 2)
    shown = on_terminal(80, "ls", tmp_path)
    assert "['x']" in shown and "COMPLETED" in shown
    assert "['x']" in on_terminal(80, "show", tmp_path, 1)


def test_run_of_sacred_is_alive_before_its_first_heartbeat(tmp_path):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    write_run(tmp_path, 1, "RUNNING", start_time=now.isoformat(), heartbeat=None, stop_time=None)
    write_run(tmp_path, 2, "RUNNING", heartbeat=None, stop_time=None)
    assert [run["status"] for run in load_runs(tmp_path)] == ["RUNNING", "DEAD"]


def test_show_forces_only_what_was_forced(tmp_path):
    write_run(tmp_path, 1, meta={"options": {"--force": False}})
    write_run(tmp_path, 2, meta={"options": {"--force": True}})
    assert "--force" not in call("show", tmp_path, 1).stdout
    assert "--force" in call("show", tmp_path, 2).stdout
