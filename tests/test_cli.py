"""The command line: words and options in, a run or one clear line out."""

import os
import subprocess
import sys

import pytest
from helpers import environment

import minisacred
from minisacred import SETTINGS, SettingError, cli_option

SIMPLE = '''
@ex.config
def config():
    """The configuration."""
    foo = 1        # how much
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

@ex.command
def other(rate, _log):
    """Print the rate."""
    print("rate", rate)

@ex.command(unobserved=True)
def peek(foo):
    print("peek", foo)
'''


@pytest.mark.parametrize(
    "argv, out",
    [
        ("", "foo 1"),
        ("with foo=23", "foo 23"),
        ("main with foo=23 -u", "foo 23"),
        ("-u with foo=23", "foo 23"),
        ("other with rate=2", "rate 2.0"),
        ("with big", "foo 100"),
        ("with big foo=7", "foo 7"),
        ("with foo=7 big -l ERROR", "foo 7"),
        ("--loglevel=ERROR with foo=3 --beat_interval 5 --comment=x", "foo 3"),
        ("--beat-interval=5 --print-config -l 40 with foo=3 -f", None),
        ("with config.json", "foo 55"),
        ("with foo=-5", "foo -5"),
    ],
)
def test_options_stand_anywhere(place, argv, out):
    (place.path / "config.json").write_text('{"foo": 55}')
    done = place(SIMPLE, *argv.split())
    assert done.code == 0, done.err
    if out is not None:
        assert done.out == out + "\n"


@pytest.mark.parametrize(
    "argv, code, message",
    [
        ("mian", 2, "no command 'mian'; did you mean 'main'? (known: print_config, "
                    "print_dependencies, print_named_configs, save_config, main, other, peek); "
                    "see --help"),
        ("--quue", 2, "no option '--quue'; did you mean '--queue'?; see --help"),
        ("-x", 2, "no option '-x'"),
        ("-b", 2, "option --beat-interval: expected one argument; see --help"),
        ("-b soon", 2, "option --beat-interval: 'soon' is no positive number of seconds; "
                       "see --help"),
        ("-b 0", 2, "option --beat-interval: '0' is no "),
        ("-C tee", 2, "option --capture: 'tee' is no mode (no, sys, fd)"),
        ("-P high", 2, "option --priority: 'high' is no number"),
        ("--file_storage=", 2, "option --file_storage: '' is no name of a directory"),
        ("-j 2", 2, "--jobs and --skip-done are for the points of 'over'; leave them out"),
        ("over foo=1 over foo=2", 2, "'over' stands once, before all that varies"),
        ("with FOO=3", 1, "no config entry 'FOO'; did you mean 'foo'?"),
        ("with foo=1 with foo=2", 2, "'with' stands once, before all updates"),
        ("big", 2, "no command 'big'; for the named config write: with big"),
        ("over foo=range(2.5)", 2, "'range(2.5)': write range(STOP), "),
        ("with dato=5", 1, "no config entry 'dato'; did you mean 'data'?"),
        ("with ./no=3.json", 1, "config file ./no=3.json: No such file"),
        ("-l LOUD", 2, "no log level 'LOUD' (known: DEBUG, INFO, WARNING, ERROR, CRITICAL, or a "
                       "number)"),
        ("foo=3", 2, "unexpected 'foo=3'; updates follow the word 'with'; see --help"),
        ("main other", 2, "unexpected 'other'; see --help"),
        ("with =3", 2, "'=3' is no update; write name=value or dotted.name=value"),
        ("with a..b=3", 2, "'a..b=3' is no update; write name=value or dotted.name=value"),
        ("help nothing", 2, "no command 'nothing'"),
        ("with biig", 1, "no named config or config file 'biig'; did you mean 'big'? (known: big)"),
        ("with missing.json", 1, "config file missing.json: No such file or directory"),
        ("with broken.json", 1, "config file broken.json is malformed: "),
        ("with fooo=3", 1, "no config entry 'fooo'; did you mean 'foo'?"),
        ("with flag=perhaps", 1, "flag=perhaps: the entry is a boolean; write true or false"),
        ("with data.n.7=1", 1, "data.n.7: index out of range"),
        ("with foo={1,2}", 1, "foo: a value of type set cannot be stored in a configuration"),
        ("-e", 1, "--enforce_clean: "),
        ("-F /proc/nowhere", 1, "cannot record the run in /proc/nowhere: "),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(place, argv, code, message):
    (place.path / "broken.json").write_text("{")
    before = sorted(os.listdir(place.path))
    argv = argv.split() + ([] if "-F" in argv else ["-F", "runs"])
    done = place(SIMPLE, *argv)
    assert done.code == code
    lines = done.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"exp.py: error: {message}"), done.err
    assert done.out == "" and sorted(os.listdir(place.path)) == sorted([*before, "exp.py"])


def test_help_names_commands_and_named_configs(place):
    for argv in ("--help", "-h", "help"):
        done = place(SIMPLE, argv)
        assert done.code == 0 and done.err == ""
        for part in ("--file_storage DIR", "other", "Print the rate.", "Much more."):
            assert part in done.out
        assert all(len(line) <= 100 for line in done.out.splitlines())
    for argv in (["help", "other"], ["other", "--help"], ["-h", "other"]):
        assert place(SIMPLE, *argv).out.startswith("other(rate, _log)\n\nPrint the rate.")


def test_print_config(place):
    done = place(SIMPLE, "print_config", "with", "foo=3")
    assert done.out.splitlines()[:5] == [
        "Configuration (modified, added, typechanged, doc):",
        '  """The configuration."""',
        "  flag = False",
        "  foo = 3  # how much",
        "  rate = 0.5",
    ]
    assert done.out.splitlines()[-3:] == ["  data:", "    n = [1, 2]", "    path = 'x'"]
    done = place(SIMPLE, "-p", "with", "foo=3")
    assert done.out.startswith("Configuration") and done.out.endswith("foo 3\n")


def test_colours_only_on_a_terminal_and_never_with_no_color(place):
    pty = pytest.importorskip("pty", reason="pseudo-terminals need POSIX")
    place.write(SIMPLE)

    def output(**env):
        parent, child = pty.openpty()
        process = place.start("exp.py", "print_config", "with", "foo=3", stdout=child, env=env)
        os.close(child)
        process.wait(timeout=60)
        process.stderr.close()
        text = b""
        while True:
            try:
                data = os.read(parent, 4096)
            except OSError:
                break
            if not data:
                break
            text += data
        os.close(parent)
        return text.decode()

    assert "\033[34m  foo = 3\033[0m" in output()
    assert "\033" not in output(NO_COLOR="1")


def test_print_named_configs_and_dependencies(place):
    assert (
        place(SIMPLE, "print_named_configs").out == "Named Configurations:\n  big  # Much more.\n"
    )
    assert "exp.py" in place(SIMPLE, "print_dependencies").out


def test_save_config_writes_what_with_reads(place):
    done = place(SIMPLE, "save_config", "with", "foo=9", "config_filename=my.json")
    assert done.out == "Saved the configuration in my.json\n" and done.err.count("WARNING") == 0
    assert place(SIMPLE, "with", "my.json").out == "foo 9\n"
    assert place(SIMPLE, "save_config", "with", "config_filename=x.pickle").code == 1


def test_unobserved_command_is_not_recorded(place):
    done = place(SIMPLE, "peek", "-F", "runs")
    assert done.out == "peek 1\n" and not (place.path / "runs").exists()
    place(SIMPLE, "print_config", "-F", "runs")
    assert not (place.path / "runs").exists()


def test_name_and_comment_are_recorded(place):
    done = place(SIMPLE, "-n", "renamed", "-c", "note", "-F", "runs")
    assert done.run().run["experiment"]["name"] == "renamed"
    assert done.run().run["meta"]["comment"] == "note"


def test_command_of_an_ingredient_has_its_dotted_name(place):
    done = place(
        """
        data = Ingredient("dataset")

        @data.config
        def config():
            n = 3

        @data.command
        def stats(n):
            print("n", n)

        ex.ingredients.append(data)

        @ex.main
        def main():
            pass
        """,
        "dataset.stats", "with", "dataset.n=4", "-F", "runs",
    )  # fmt: skip
    assert done.out == "n 4\n" and done.run().run["command"] == "dataset.stats"


def test_circular_ingredients_are_reported_with_the_path(place):
    done = place(
        """
        a = Ingredient("a")
        b = Ingredient("b", ingredients=[a])
        a.ingredients.append(b)
        ex.ingredients.append(a)

        @ex.main
        def main():
            pass
        """
    )
    assert done.code == 1
    assert done.err.endswith("error: ingredients use each other in a circle: a → b → a\n")


def test_experiment_without_main_asks_for_a_command(place):
    done = place("@ex.command\ndef hello():\n    print('hello')\n")
    assert done.code == 2 and "has no main function; name a command: " in done.err
    assert place("@ex.command\ndef hello():\n    print('hi')\n", "hello").out == "hi\n"


def test_options_of_the_users(place):
    done = place(
        """
        @cli_option("-o", "--own-flag", is_flag=True)
        def own_flag(args, run):
            "A flag."
            run.info["flag"] = args

        @cli_option("-w", "--with_value")
        def with_value(args, run):
            "A value."
            run.info["value"] = args

        ex = Experiment("exp", additional_cli_options=[own_flag, with_value])

        @ex.option_hook
        def hook(options):
            print(options["--with_value"], options["--queue"])

        @ex.main
        def main(_run):
            print(_run.info)
        """,
        "-o", "--with-value", "5",
    )  # fmt: skip
    assert done.out == "5 False\n{'flag': True, 'value': '5'}\n", done.err


def test_cli_option_checks_its_names():
    with pytest.raises(ValueError, match="-o"):
        cli_option("o", "--option")


def test_argv_as_a_string_or_list(ex):
    @ex.main
    def main(a=1):
        return a

    assert ex.run_commandline("exp.py with a='b c'").result == "b c"
    assert ex.run_commandline(["exp.py", "with", "a=2"]).result == 2


def test_automain_runs_the_script_only(place):
    body = "\n@ex.automain\ndef main():\n    print('ran')\n"
    assert place(body, script={"footer": ""}).out == "ran\n"
    (place.path / "use.py").write_text("import exp\nprint('imported')\n")
    assert place.python("use.py").out == "imported\n"


@pytest.mark.parametrize(
    "code, message",
    [
        ("Experiment('x')", "pass interactive=True and a name"),
        ("Experiment(interactive=True)", "needs a name"),
        ("ex = Experiment('x', interactive=True)\n@ex.automain\ndef main(): pass",
         "here use @ex.main, and ex.run()"),
        ("ex = Experiment('x', interactive=True)\n@ex.config\ndef c(): a = 1",
         "source of config scope 'c' is not available"),
    ],
)  # fmt: skip
def test_python_c_refuses_with_the_reason(place, code, message):
    done = place.python("-c", "from minisacred import Experiment\n" + code)
    if "config" in code and sys.version_info >= (3, 13):
        return  # Python 3.13 keeps the source of -c
    assert done.code == 1 and message in done.err


def test_interactive_experiment_runs(place):
    code = (
        "from minisacred import *\nex = Experiment('x', interactive=True)\nex.add_config(a=1)\n"
        "ex.observers.append(FileStorageObserver('runs'))\n"
        "@ex.main\ndef main(a): return a\nprint(ex.run().result)"
    )
    done = place.python("-c", code)
    assert done.out == "1\n", done.err
    assert place.run().run["experiment"]["mainfile"] is None


def test_module_works_under_another_name_in_a_package(place):
    source = (place.path / "lib").mkdir() or open(minisacred.__file__, encoding="utf-8")
    with source:
        (place.path / "lib" / "ms.py").write_text(source.read(), encoding="utf-8")
    (place.path / "lib" / "__init__.py").write_text("")
    place.write(
        SIMPLE, script := "exp.py", header="from lib.ms import Experiment\nex = Experiment()\n"
    )
    env = {**environment(), "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, script, "with", "foo=4", "-F", "runs"],
        cwd=place.path, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "foo 4\n", done.stderr
    names = [name for name, _ in place.run().run["experiment"]["sources"]]
    assert names == ["exp.py", "lib/__init__.py", "lib/ms.py"]
    failing = SIMPLE.replace('print("foo", foo)', "1 / 0")
    place.write(failing, script, header="from lib.ms import Experiment\nex = Experiment()\n")
    done = subprocess.run(
        [sys.executable, script], cwd=place.path, env=env, capture_output=True, text=True
    )
    assert "ZeroDivisionError" in done.stderr and "ms.py" not in done.stderr


def test_settings_by_attribute_and_key_and_unknown_ones():
    assert SETTINGS["CONFIG"]["READ_ONLY_CONFIG"] is SETTINGS.CONFIG.READ_ONLY_CONFIG is True
    for wrong in (
        lambda: SETTINGS.CAPTURE_MOD,
        lambda: SETTINGS["CAPTURE_MOD"],
        lambda: setattr(SETTINGS, "CAPTURE_MOD", 1),
        lambda: SETTINGS.__setitem__("CAPTURE_MOD", 1),
    ):
        with pytest.raises(SettingError, match="did you mean 'CAPTURE_MODE'.*known: "):
            wrong()


def test_strict_parsing_refuses_what_is_no_literal(place):
    body = "SETTINGS.COMMAND_LINE.STRICT_PARSING = True\n" + SIMPLE
    assert "is no Python literal" in place(body, "with", "foo=bare").err
    assert place(body, "with", "foo='quoted'").code == 0


def test_importing_has_no_side_effect_and_loads_the_standard_library_only(place):
    done = place.python(
        "-c",
        "import sys, threading, signal, logging; before = signal.getsignal(2), sys.stdout\n"
        "old = set(sys.modules); import minisacred\n"
        "assert (signal.getsignal(2), sys.stdout) == before and threading.active_count() == 1\n"
        "assert not logging.root.handlers\n"
        "new = {n.partition('.')[0] for n in set(sys.modules) - old} - {'minisacred'}\n"
        "print(sorted(n for n in new if 'site-packages' in "
        "str(getattr(sys.modules[n], '__file__', ''))))\n"
        "print(sorted(new & {'typing', 'subprocess', 'hashlib', 'tempfile', 'pathlib', 'shutil'}))",
    )
    assert done.out == "[]\n[]\n", done.err


def test_a_run_loads_no_module_that_it_does_not_need(place):
    """inspect, for one, takes a tenth of a short run."""
    done = place(
        """
        @ex.config
        def config():
            'One entry.'
            foo = 1  # its value

        @ex.capture
        def double(foo, *, times=2):
            return foo * times

        @ex.main
        def main(_log, _rnd, foo=0):
            import sys
            print(double(), *sorted({"inspect", "dis", "subprocess"} & set(sys.modules)))
        """,
        "with", "foo=4", "-F", "runs",
    )  # fmt: skip
    assert done.out == "8\n", done.err


@pytest.mark.parametrize("seed", ["[1]", "{'a':1}"])
def test_a_seed_of_a_wrong_type_is_one_line(place, seed):
    done = place("@ex.main\ndef main(): pass\n", "with", f"seed={seed}")
    assert done.code == 1 and done.err.count("\n") == 1 and "seed" in done.err


def test_numbers_may_be_infinite(place):
    done = place(
        """
        @ex.config
        def cfg():
            limit = 1.5
            count = 1

        @ex.main
        def main(limit, count):
            print(limit, count)
        """,
        "with", "limit=-inf", "count=007",
    )  # fmt: skip
    assert done.out == "-inf 7\n" and "type" not in done.err


def test_a_refused_id_makes_no_directory(place):
    done = place("@ex.main\ndef main(): pass\n", "-F", "new", "-i", "a/b")
    assert done.code == 1 and not (place.path / "new").exists()


def test_what_a_terminal_cannot_show_is_escaped(place):
    source = '''
    @ex.config
    def config():
        name = "ä"  # größe

    @ex.command
    def other():
        """Größe."""

    ex.main(lambda: None)
    '''
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    assert "name = '\\xe4'  # gr\\xf6\\xdfe" in place(source, "print_config", env=ascii_only).out
    assert "Gr\\xf6\\xdfe." in place(source, "--help", env=ascii_only).out


def test_command_line_inside_a_run_is_one_as_well(place):
    done = place(
        """
        ex.add_config(name="x", b=False, f=1.0)

        @ex.command
        def train(name, b, f):
            return (name, b, f)

        @ex.main
        def main():
            run = ex.run_commandline(["exp", "train", "with", "name=5", "b=yes", "f=2"])
            print(repr(run.result))
        """
    )
    assert done.out == "('5', True, 2.0)\n", done.err
