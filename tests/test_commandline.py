"""The command line: words and options in, a run or one clear line out."""

import sys

import pytest
from helpers import RunFiles, shell

from minisacred import SETTINGS, Experiment, RunObserver, cli_option


@pytest.fixture
def ex(ex, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    @ex.config
    def config():
        foo = 1  # how much
        rate = 0.5
        flag = False
        data = {"path": "x", "n": [1, 2]}

    @ex.named_config
    def big():
        """Much more."""
        foo = 100

    @ex.main
    def main(foo, rate, flag, data):
        """Print foo."""
        print("foo", foo)
        return foo

    @ex.command
    def other(rate, _log):
        """Print the rate."""
        print("rate", rate)
        return rate

    return ex


def refused(ex, capsys, *argv):
    """Return exit code and message of a command line that does not run."""
    with pytest.raises(SystemExit) as error:
        ex.run_commandline(["exp.py", *argv])
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("exp.py: error: "), err
    return error.value.code, err


@pytest.mark.parametrize(
    "words, result",
    [
        ("", 1),
        ("main", 1),
        ("with foo=23", 23),
        ("main with foo=23 -u", 23),
        ("-u with foo=23", 23),
        ("with foo=23 -F runs/", 23),
        ("-F runs/ with foo=23", 23),
        ("with -F runs/ foo=23", 23),
        ("other with rate=2", 2),
        ("with big", 100),
        ("with big foo=7", 7),
        ("with foo=7 big", 7),
        ("with config.json", 55),
        ("with foo=-5", -5),
        ("-l 40 --comment=x with foo=3 -f", 3),
    ],
)
def test_words_and_options_stand_anywhere(ex, tmp_path, words, result):
    (tmp_path / "config.json").write_text('{"foo": 55}')
    assert ex.run_commandline(f"exp.py {words}").result == result


def test_argv_is_a_list_or_one_string_with_the_program_first(ex, monkeypatch):
    assert ex.run_commandline(["exp.py", "with", "foo=2"]).result == 2
    assert ex.run_commandline("exp.py with 'foo=3'").result == 3
    monkeypatch.setattr(sys, "argv", ["exp.py", "with", "foo=4"])
    assert ex.run_commandline().result == 4


@pytest.mark.parametrize("spelling", ["--beat-interval", "--beat_interval"])
def test_both_spellings_of_an_option_are_accepted(ex, spelling):
    assert ex.run_commandline(["exp.py", spelling, "3"]).beat_interval == 3
    assert ex.run_commandline(["exp.py", f"{spelling}=4"]).beat_interval == 4


def test_options_of_the_run(ex, tmp_path):
    run = ex.run_commandline("exp.py -F runs -i mine -b 3 -C no -c text -n other -f -d")
    assert (run._id, run.beat_interval, run.capture_mode) == ("mine", 3, "no")
    assert run.force and run.debug and not run.pdb
    stored = RunFiles(tmp_path / "runs" / "mine").run
    assert stored["meta"]["comment"] == "text" and stored["experiment"]["name"] == "other"


def test_unobserved_run_is_not_recorded(ex, tmp_path):
    run = ex.run_commandline("exp.py -u -F runs")
    assert run.unobserved and not (tmp_path / "runs").exists()


def test_print_config_comes_before_the_run(ex, capsys):
    ex.run_commandline("exp.py -p with foo=3")
    out = capsys.readouterr().out
    assert "rate = 0.5" in out and out.index("foo = 3") < out.index("\nfoo 3\n")


def test_force_silences_what_is_suspicious(ex, caplog):
    assert ex.run_commandline("exp.py with fooo=3 rate=text -f").config["fooo"] == 3
    assert "fooo" not in caplog.text and "rate" not in caplog.text


def test_mongo_without_pymongo_says_what_to_install(ex, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymongo", None)
    code, message = refused(ex, capsys, "-m", "db")
    assert code == 1 and "pip install" in message and "pymongo" in message


@pytest.mark.parametrize("state", ["no git", "changed", "untracked", "clean"])
def test_enforce_clean_asks_for_sources_that_are_committed(place, state):
    source = "@ex.main\ndef main():\n    print('hello')\n"
    place.write(source)
    done = shell("git --version", place.path)
    if done.returncode:
        pytest.skip("needs git")
    if state != "no git":
        user = "-c user.name=n -c user.email=e"
        (place.path / "other").write_text("x")
        added = "other" if state == "untracked" else "exp.py"
        command = f"git init -q . && git add {added} && git {user} commit -qm first"
        assert shell(command, place.path).returncode == 0
    if state == "changed":
        place.write(source + "    print('more')\n")
    done = place.python("exp.py", "-e")
    assert done.code == (0 if state == "clean" else 1), done.err
    assert ("hello" in done.out) == (state == "clean")
    assert state == "clean" or "not committed to git" in done.err


def test_options_of_the_experiment_win(capsys, tmp_path):
    seen = []

    @cli_option("-b", "--beta-rate")
    def beta(value, run):
        """Take the rate."""
        seen.append((value, run.config["seed"], run.status))

    @cli_option("-x", "--extra", is_flag=True)
    def extra(value, run):
        seen.append(value)
        run.observers.append(RunObserver())

    ex = Experiment("exp", additional_cli_options=[beta, extra], save_git_info=False)
    ex.main(lambda: seen.append("main"))
    ex.run_commandline("exp.py with seed=3 -b 5 --extra")
    assert seen == [("5", 3, None), True, "main"]
    ex.run_commandline("exp.py --help")
    assert "Take the rate." in capsys.readouterr().out
    assert ex.run_commandline("exp.py --beta_rate=6 --extra -u").observers == []
    assert seen[3][0] == "6"


def test_strict_parsing_refuses_what_is_no_literal(ex, capsys, monkeypatch):
    monkeypatch.setitem(SETTINGS.COMMAND_LINE, "STRICT_PARSING", True)
    code, message = refused(ex, capsys, "with", "rate=abc")
    assert code and "abc" in message
    assert ex.run_commandline("exp.py with foo=2").result == 2


@pytest.mark.parametrize(
    "words, code, named",
    [
        ("mian", 2, ["'mian'", "'main'", "help"]),
        ("--quue", 2, ["'--quue'", "'--queue'", "help"]),
        ("--quue=3", 2, ["'--quue'", "'--queue'", "help"]),
        ("-x", 2, ["'-x'", "help"]),
        ("-b", 2, ["--beat-interval", "argument", "help"]),
        ("-b soon", 2, ["--beat-interval", "'soon'", "help"]),
        ("-b 0", 2, ["--beat-interval", "'0'", "help"]),
        ("-C tee", 2, ["--capture", "'tee'", "fd", "help"]),
        ("-P high", 2, ["--priority", "'high'", "help"]),
        ("-l LOUD", 2, ["'LOUD'"]),
        ("-q", 2, ["-F DIR"]),
        ("foo=3", 2, ["'foo=3'", "with", "help"]),
        ("main other", 2, ["'other'", "help"]),
        ("big", 2, ["'big'", "with big"]),
        ("with =3", 1, ["''", "name=value"]),
        ("help nothing", 2, ["'nothing'"]),
        ("with biig", 1, ["'biig'", "'big'", "help"]),
        ("with missing.json", 1, ["missing.json"]),
        ("with broken.json", 1, ["broken.json"]),
        ("with fooo=3", 1, ["'fooo'", "'foo'", "help"]),
        ("with data.n.7=1", 1, ["data.n.7", "range"]),
        ("with seed=[1]", 1, ["seed"]),
    ],
)
def test_mistake_is_one_line_that_names_what_is_wrong(ex, capsys, tmp_path, words, code, named):
    (tmp_path / "broken.json").write_text("{")
    found, message = refused(ex, capsys, *words.split())
    assert found == code
    assert [part for part in named if part not in message] == []


def test_experiment_without_a_main_function_asks_for_a_command(capsys):
    ex = Experiment("exp")
    ex.command(lambda: None)
    code, message = refused(ex, capsys)
    assert code == 2 and "command" in message and "print_config" in message


@pytest.mark.parametrize("words", ["--help", "-h", "help"])
def test_help_tells_options_commands_and_named_configs(ex, capsys, words):
    assert ex.run_commandline(f"exp.py {words}") is None
    out = capsys.readouterr().out
    options = (
        "-b --beat-interval -C --capture -c --comment -d --debug -D --pdb -e --enforce_clean -F "
        "--file_storage -f --force -h --help -i --id -j --jobs -l --loglevel -m --mongo_db -n "
        "--name -P --priority -p --print-config -q --queue -u --unobserved --resume "
        "--start-queued --skip-done"
    )
    shown = set(out.replace(",", " ").split())
    assert set(options.split()) <= shown and "main" in shown and "big" in shown
    assert "Print the rate." in out and "Much more." in out


@pytest.mark.parametrize("words", ["help other", "other --help", "other -h"])
def test_help_of_a_command_tells_its_signature_and_doc(ex, capsys, words):
    ex.run_commandline(f"exp.py {words}")
    out = capsys.readouterr().out
    assert out.startswith("other(rate, _log)") and "Print the rate." in out
