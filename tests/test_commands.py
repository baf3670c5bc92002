"""The built-in commands, on the command line and as functions of the module."""

import json
import re

import pytest
from helpers import on_terminal

from minisacred import (
    Experiment,
    FileStorageObserver,
    print_config,
    print_dependencies,
    print_named_configs,
    save_config,
)


@pytest.fixture
def ex(ex):
    @ex.config
    def config():
        """All that matters."""
        lr = 0.1  # learning rate
        # how deep,
        # and how wide
        model = {"name": "net", "depth": 3}
        optimizer = {}

    @ex.named_config
    def big():
        """Much deeper.

        By far.
        """
        model = {"depth": 99}

    ex.add_named_config("tiny", {"lr": 5})

    @ex.main
    def main(lr, model, optimizer, _run):
        print_config(_run)

    return ex


def printed(capsys, ex, words):
    ex.run_commandline(f"exp.py {words}")
    return capsys.readouterr().out


def test_print_config_shows_entries_with_docs_and_nests_dictionaries(ex, capsys):
    out = printed(capsys, ex, "print_config with seed=1")
    lines = [line.split() for line in out.splitlines()]
    assert "lr = 0.1 # learning rate".split() in lines
    assert any(line[:3] == ["seed", "=", "1"] for line in lines)
    at = next(n for n, line in enumerate(out.splitlines()) if "model:" in line)
    model, *below = out.splitlines()[at : at + 3]
    assert "how deep," in model and "and how wide" in model
    margin = len(model) - len(model.lstrip())
    assert below == [f"{' ' * margin}  depth = 3", f"{' ' * margin}  name = 'net'"]
    assert "All that matters." in out


def test_print_config_is_a_function_too(ex, capsys):
    out = printed(capsys, ex, "with seed=1 lr=0.5")
    assert out == printed(capsys, ex, "print_config with seed=1 lr=0.5")


def test_print_named_configs_shows_names_with_the_first_lines_of_their_docs(ex, capsys):
    out = printed(capsys, ex, "print_named_configs")
    assert re.search(r"^ +big +# Much deeper\.$", out, re.MULTILINE)
    assert re.search(r"^ +tiny$", out, re.MULTILINE) and "By far" not in out
    print_named_configs(ex)()
    assert capsys.readouterr().out == out


def test_print_dependencies_shows_packages_and_sources(ex, capsys):
    ex.add_package_dependency("somepackage", "1.2")
    out = printed(capsys, ex, "print_dependencies")
    assert "  somepackage==1.2\n" in out and re.search(r"  pytest==\d", out)
    assert re.search(r"conftest\.py +[0-9a-f]{32}", out)
    ex.command(print_dependencies, unobserved=True)
    assert printed(capsys, ex, "print_dependencies") == out


def test_save_config_writes_what_with_takes(ex, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed(capsys, ex, "save_config with big lr=0.5 seed=7")
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved == {
        "lr": 0.5, "seed": 7, "model": {"name": "net", "depth": 99}, "optimizer": {}}  # fmt: skip
    assert ex.run_commandline("exp.py with config.json").config == saved
    save_config(saved, None, "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == saved


@pytest.mark.parametrize(
    "command", ["print_config", "print_dependencies", "print_named_configs", "save_config", "help"]
)
def test_built_in_commands_are_not_recorded(ex, capsys, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    ex.observers.append(FileStorageObserver("runs"))
    assert printed(capsys, ex, command)
    assert not (tmp_path / "runs").exists()


def test_command_may_be_unobserved(tmp_path):
    ex = Experiment("exp", save_git_info=False)
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))

    @ex.command(unobserved=True)
    def peek():
        return 1

    assert ex.run("peek").result == 1 and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("env, coloured", [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_only_and_never_with_no_color(place, env, coloured):
    place.write("ex.add_config(foo=1, sizes=[1, 2])\n\n@ex.main\ndef main(foo):\n    pass\n")
    argv = ["exp.py", "print_config", "with", "foo=2", "sizes.0=3"]
    shown = on_terminal(argv, place.path, **env)
    assert ("\033[" in shown) == ("\033[34m  sizes = [3, 2]" in shown) == coloured
    assert "foo = 2" in shown
    assert "\033[" not in place.python(*argv).out
