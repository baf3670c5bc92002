"""What published experiments do with Sacred works here, their import lines changed."""

import copy
import logging
import os
import pickle

import pytest
from helpers import strict

from minisacred import (
    SETTINGS,
    ConfigError,
    Experiment,
    FileStorageObserver,
    Ingredient,
    RunObserver,
    SettingError,
    load_runs,
)


def test_main_and_configs_take_functions_that_were_imported(place):
    place.write(
        """
        def cfg():
            a = 1
        def big():
            a = 100
        def main(a):
            return a
        """,
        "parts.py", header="", footer="",
    )  # fmt: skip
    done = place(
        """
        import parts
        ex.config(parts.cfg)
        ex.named_config(parts.big)
        ex.main(parts.main)
        """,
        "with", "big", "-F", "runs",
    )  # fmt: skip
    assert not done.code, done.err
    assert done.run().run["result"] == 100


def test_a_config_hook_may_add_the_observer(place):
    """As PANet and its many forks do."""
    done = place(
        """
        @ex.config
        def cfg():
            folder = "runs"

        @ex.config_hook
        def add_observer(config, command_name, logger):
            ex.observers.append(FileStorageObserver.create(config["folder"]))
            return config

        @ex.main
        def main(_run):
            for name, _ in _run.experiment_info["sources"]:
                _run.observers[0].save_file(name, f"source/{name}")
            _run.observers[0].save_json({"a": 1}, "more.json")
            print("printed")
        """
    )
    assert not done.code, done.err
    assert (done.run().path / "source" / "exp.py").exists()
    assert done.run().more == {"a": 1}
    assert "printed\n" in done.run().cout


def test_an_option_may_add_an_observer(place):
    done = place(
        """
        from minisacred import cli_option

        @cli_option("-o", "--out")
        def out(value, run):
            "Where."
            run.observers.append(FileStorageObserver(value))

        ex = Experiment("exp", additional_cli_options=[out])

        @ex.main
        def main():
            print("printed")
        """,
        "-o", "runs",
    )  # fmt: skip
    assert not done.code, done.err
    assert "printed\n" in done.run().cout


def test_subclasses_of_the_file_observer_may_pass_arguments_by_position(ex, tmp_path):
    from minisacred import FileStorageObserver

    class Mine(FileStorageObserver):
        def started_event(self, ex_info, command, host_info, start_time, config, meta_info, _id):
            config = {**config, "extra": 1}
            return super().started_event(
                ex_info, command, host_info, start_time, config, meta_info, _id
            )

    ex.observers.append(Mine(tmp_path))
    ex.main(lambda: None)
    ex.run(options={"--capture": "no"})
    assert strict((tmp_path / "1" / "config.json").read_text())["extra"] == 1


def test_option_hooks_see_all_options_and_may_change_them(ex):
    seen = {}

    @ex.option_hook
    def hook(options):
        seen.update(options)
        options["--comment"] = "changed"

    ex.main(lambda: None)
    run = ex.run(config_updates={"seed": 5}, options={"--force": True})
    assert seen["--force"] is True and seen["--queue"] is False and seen["--id"] is None
    assert seen["UPDATE"] == ["seed=5"]
    assert run.meta_info["comment"] == "changed"


def test_experiment_info_is_there_without_observers(ex):
    ex.main(lambda _run: _run.experiment_info["name"])
    assert ex.run().result == "exp"


@pytest.mark.parametrize("where", ["scope", "update"])
def test_a_seed_of_none_is_drawn(ex, where):
    if where == "scope":
        ex.add_config({"seed": None})
    ex.main(lambda seed: seed)
    run = ex.run(config_updates={"seed": None} if where == "update" else {})
    assert isinstance(run.result, int)


def test_scopes_may_take_the_log(place):
    done = place(
        """
        @ex.config
        def cfg(_log):
            a = 1
            _log.info("in the scope")

        @ex.named_config
        def named(_log):
            _log.info("in the named config")

        @ex.main
        def main(_config):
            print(sorted(_config))
        """,
        "with", "named",
    )  # fmt: skip
    assert done.out == "['a', 'seed']\n", done.err
    assert "in the scope" in done.err and "in the named config" in done.err


def test_words_of_the_command_line_may_have_spaces(place):
    script = """
        @ex.config
        def cfg():
            a = 1

        @ex.main
        def main(a):
            print(a)
        """
    assert place(script, "with", "a = 7", "").out == "7\n"


def test_settings_are_a_dictionary_too():
    assert "CONFIG" in SETTINGS and "CONFIGS" not in SETTINGS
    assert SETTINGS.get("NOTHING", 5) == 5
    before = SETTINGS.CONFIG.ENFORCE_VALID_PYTHON_IDENTIFIER_KEYS
    SETTINGS["CONFIG"].update(ENFORCE_VALID_PYTHON_IDENTIFIER_KEYS=before)
    for change in (lambda: SETTINGS.update(NOTHING=1), lambda: SETTINGS.__setitem__("CONFIG", 5)):
        with pytest.raises(SettingError):
            change()


def test_a_logger_of_ones_own_prints_each_line_once(place):
    done = place(
        """
        import logging
        logger = logging.getLogger("pymarl")
        logger.handlers = []
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("[%(levelname)s %(name)s] %(message)s"))
        logger.addHandler(handler)
        logger.setLevel("DEBUG")
        ex.logger = logger
        SETTINGS["CAPTURE_MODE"] = "fd"

        @ex.main
        def main(_log):
            _log.debug("detail")
        """
    )
    assert done.err.count("detail") == 1
    assert "[DEBUG pymarl.main] detail" in done.err


def test_the_log_takes_another_handler(ex):
    records = []

    class Handler(logging.Handler):
        def emit(self, record):
            records.append(record.getMessage())

    @ex.main
    def main(_log):
        handler = Handler()
        _log.addHandler(handler)
        _log.info("heard")
        _log.removeHandler(handler)

    ex.run(options={"--loglevel": "INFO"})
    assert records == ["heard"]


def test_loggers_of_other_modules_are_shown(place):
    done = place(
        """
        import logging

        @ex.main
        def main():
            logging.getLogger("elsewhere").info("a note")
        """
    )
    assert "INFO - elsewhere - a note" in done.err


def test_metrics_come_with_their_names(ex):
    seen = []

    class Mine(RunObserver):
        def log_metrics(self, metrics_by_name, info):
            seen.extend(metric["name"] for metric in metrics_by_name.values())

    ex.observers.append(Mine())
    ex.main(lambda _run: _run.log_scalar("loss", 1))
    ex.run(options={"--capture": "no"})
    assert seen == ["loss"]


def test_a_named_config_wins_over_a_config_hook(ex):
    ex.add_config(a=1)
    ex.add_named_config("two", a=2)
    ex.config_hook(lambda config, command_name, logger: {"a": 3, "b": config["a"]})
    ex.main(lambda a, b: (a, b))
    assert ex.run(named_configs=["two"]).result == (2, 2)
    assert ex.run().result == (3, 1)


def test_ingredients_with_one_path_are_refused():
    parts = [Ingredient("data", interactive=True), Ingredient("data", interactive=True)]
    ex = Experiment("exp", ingredients=parts)
    ex.main(lambda: None)
    with pytest.raises(ConfigError, match="'data'"):
        ex.run()


def test_the_configuration_can_be_changed_where_settings_allow_it(ex):
    ex.add_config(d={"a": 1})

    @ex.main
    def main(d, _run):
        d["a"] = 2
        return _run.config["d"]["a"]

    SETTINGS.CONFIG.READ_ONLY_CONFIG = False
    try:
        assert ex.run().result == 2
    finally:
        SETTINGS.CONFIG.READ_ONLY_CONFIG = True


def test_the_text_none_for_a_text_entry_is_remarked(place):
    done = place(
        """
        @ex.config
        def cfg():
            name = "x"

        @ex.main
        def main(name):
            print(repr(name))
        """,
        "with", "name=None",
    )  # fmt: skip
    assert done.out == "'None'\n"
    assert "name=None: the entry is a text, so that is one, too" in done.err


def test_observer_of_lower_priority_finds_the_record_of_a_higher_one_complete(place):
    done = place(
        """
        import json

        class Upload(RunObserver):
            def started_event(self, _id, **_):
                self.id = _id

            def completed_event(self, stop_time, result):
                read = lambda name: json.load(open(f"runs/{self.id}/{name}.json"))
                print(read("run")["status"], read("info"), len(read("metrics")["m"]["values"]))

        ex.observers.append(Upload())

        @ex.main
        def main(_run):
            _run.info["z"] = 1
            for i in range(3000):
                _run.log_scalar("m", i)
        """,
        "-F", "runs",
    )  # fmt: skip
    assert "COMPLETED {'z': 1} 3000" in done.out, done.err


def test_heirs_of_the_file_observer_get_the_output_and_keep_their_state(tmp_path):
    class My(FileStorageObserver):
        count, last = 0, None

        def started_event(self, ex_info, command, host_info, start_time, config, meta_info, _id):
            self.count += 1
            return super().started_event(
                ex_info, command, host_info, start_time, config, meta_info, _id
            )

        def heartbeat_event(self, info, captured_out, beat_time, result):
            self.output = captured_out
            super().heartbeat_event(info, captured_out, beat_time, result)

        def completed_event(self, stop_time, result):
            self.last = result
            super().completed_event(stop_time, result)

    ex = Experiment("exp")
    observer = My(tmp_path)
    ex.observers.append(observer)

    @ex.main
    def main(_run, depth=0):
        if depth < 1:
            inner = ex.run(config_updates={"depth": depth + 1})
            assert inner.dir != _run.dir == observer.dir
        print("hello")
        return depth

    for expected in (1, 2):
        run = ex.run()
        assert (observer.count, observer.last, observer.dir) == (expected, 0, run.dir)
    assert "hello\n" in observer.output
    assert [run["result"] for run in load_runs(tmp_path)] == [0, 1, 0, 1]


def test_functions_that_share_their_names_draw_numbers_of_their_own(place):
    for name in ("m1", "m2"):
        source = "from exp import ex\n@ex.capture\ndef sample(_rnd):\n    return _rnd.random()\n"
        place.write(source, f"{name}.py", header="", footer="")
    place.write("", footer="")
    source = """from exp import ex
import m1, m2
noise = [ex.capture(lambda _rnd: _rnd.random()) for _ in range(3)]

@ex.main
def main(seed):
    drawn = m1.sample(), m2.sample(), *(n() for n in noise)
    assert len(set(drawn)) == 5, drawn
    print(drawn)

ex.run_commandline()
"""
    place.write(source, "run.py", header="", footer="")
    first, second = (place.python("run.py", "with", "seed=5") for _ in range(2))
    assert first.code == 0 and first.out == second.out, first.err


def test_captured_class_stays_a_class():
    ex = Experiment("exp")
    ex.add_config(a=1)

    @ex.capture
    class K:
        def __init__(self, a):
            self.a = a

        @classmethod
        def make(cls):
            return cls(9)

    class Heir(K):
        pass

    @ex.main
    def main():
        return [K().a, K.make().a, Heir().a, isinstance(K(), K)]

    assert ex.run().result == [1, 9, 1, True]


@pytest.mark.parametrize("value", ["'resnet'", "None"])
def test_entry_with_the_name_of_an_ingredient_gives_way_to_its_entries(place, value):
    done = place(
        f"""
        model = Ingredient("model")
        model.add_config(n=1)
        ex.ingredients.append(model)

        @ex.config
        def config():
            model = {value}

        ex.main(lambda model: model["n"])
        """,
        "-F",
        "runs",
    )
    assert done.code == 0 and "config entry 'model' is left out: the entries of" in done.err
    assert done.run().run["result"] == 1 and done.run().config["model"] == {"n": 1}


def test_ingredient_may_have_an_entry_named_like_one_that_it_uses(place):
    source = """
    data = Ingredient("data")
    data.add_config(n=1)
    sub = Ingredient("sub", ingredients=[data])
    sub.add_config(data={"m": 5})
    ex.ingredients.append(sub)

    @ex.main
    def main(sub, data):
        return [sub["data"]["m"], data["n"]]
    """
    assert place(source, "-q", "with", "sub.data.m=6", "-F", "runs").code == 0
    done = place(source, "--start-queued", "1", "-F", "runs")
    assert done.code == 0 and done.run().run["result"] == [6, 1], done.err


def test_entries_of_an_ingredient_are_updated_at_its_own_path_only(place):
    source = """
    dataset = Ingredient("dataset")
    dataset.add_config(filename="x.npy")
    model = Ingredient("model", ingredients=[dataset])

    @model.config
    def config(dataset):
        n = len(dataset["filename"])

    ex.ingredients.append(model)

    @ex.main
    def main(model, dataset):
        print(model, dataset)
    """
    for update in ("model.dataset.filename=x", "model.dataset=5"):
        done = place(source, "with", update)
        assert done.code == 1 and "model.dataset: 'dataset' is an ingredient" in done.err
    assert "{'n': 1} {'filename': 'x'}" in place(source, "with", "dataset.filename=x").out


def test_interrupt_reaches_the_caller_of_the_command_line(place):
    footer = """
try:
    ex.run_commandline()
except KeyboardInterrupt:
    print("caught")
    raise
finally:
    print("cleanup")
"""
    source = """
    import atexit, os, signal, sys, time
    atexit.register(print, "at exit")

    @ex.main
    def main(number):
        os.kill(os.getpid(), number)
        time.sleep(3)
    ex.add_config(number=2)
    """
    for number in (2, 15):
        done = place(source, "with", f"number={number}", script={"footer": footer})
        assert done.out.splitlines()[-3:] == ["caught", "cleanup", "at exit"]
        assert done.code == -number and "Traceback" not in done.err


def test_loglevel_is_that_of_all_loggers(place):
    source = """
    import logging
    log = logging.getLogger("mymod")

    @ex.main
    def main():
        log.debug("debug")
        log.info("info")
    """
    assert "DEBUG - mymod - debug" in place(source, "-l", "DEBUG").err
    assert place(source, "-l", "ERROR").err == ""


def test_log_metrics_may_note_in_info_where_they_are():
    class Observer(RunObserver):
        def log_metrics(self, metrics_by_name, info):
            info.setdefault("metrics", []).extend(metrics_by_name)

    ex = Experiment("exp")
    ex.observers.append(Observer())

    @ex.main
    def main(_run):
        _run.log_scalar("loss", 1.0)

    assert ex.run().info == {"metrics": ["loss"]}


def test_output_is_captured_without_observers_if_that_is_asked_for():
    ex = Experiment("exp")
    ex.main(lambda: print("hello"))
    run = ex.run(options={"--capture": "sys"})
    assert "hello\n" in run.captured_out and run.capture_mode == "sys"
    assert ex.run().capture_mode == "no"


@pytest.mark.parametrize("key", ["CAPTURE_MODE", "DISCOVER_SOURCES", "DISCOVER_DEPENDENCIES"])
def test_settings_take_only_values_that_mean_something(key):
    with pytest.raises(SettingError, match=f"{key} cannot be 'bogus' .known: .*'none'|'no'"):
        SETTINGS[key] = "bogus"


def test_name_of_the_option_is_that_of_the_logger(place):
    done = place("ex.main(lambda: 5)", "-n", "renamed", "-F", "runs")
    assert "INFO - renamed - Result: 5" in done.err and " exp " not in done.err


@pytest.mark.parametrize(
    "make",
    [
        "mock.Mock(priority=10)",
        "mock.MagicMock()",
        "mock.create_autospec(RunObserver, instance=True)",
        "Anything()",
    ],
)
def test_observers_that_answer_to_every_name_get_their_events(place, make):
    done = place(
        f"""
        from unittest import mock

        class Anything:
            def __getattr__(self, name):
                return lambda **arguments: seen.append(name)

        seen = []
        observer = {make}
        is_mock = isinstance(observer, mock.NonCallableMock)
        if is_mock:
            observer.started_event.return_value = 42
        ex.observers.append(observer)

        @ex.main
        def main():
            print("hello")

        run = ex.run()
        names = seen or [call[0] for call in observer.method_calls]
        assert "started_event" in names and "completed_event" in names, names
        assert run._id == (42 if is_mock else None)
        """,
        script={"footer": ""},
    )
    assert done.code == 0, done.err
    assert os.listdir(place.path) == ["exp.py"]


def test_commands_that_are_built_in_are_gathered_too():
    ex = Experiment("exp")
    assert "print_config" in dict(ex.gather_commands())


def test_suggestions_prefer_what_begins_alike(place):
    done = place("ex.main(lambda: None)", "--unobs")
    assert done.code == 2 and "did you mean '--unobserved'?" in done.err
    assert "did you mean" not in place("ex.main(lambda: None)", "--verbose").err


@pytest.mark.parametrize("key", [".a", "a.", "a..b", ""])
def test_updates_without_a_name_are_refused(key):
    ex = Experiment("exp")
    ex.add_config(a=1)
    ex.main(lambda a: None)
    with pytest.raises(ConfigError, match="is no dotted path"):
        ex.run(config_updates={key: 2})


def test_executed_text_is_not_taken_for_another_of_the_same_name(place):
    code = '''
from minisacred import Experiment
ex = Experiment("x", interactive=True)
@ex.config
def cfg():
    a = "outer"
exec("""

@ex.config
def cfg():
    a = "inner"; z = 3
""")
'''
    done = place.python("-c", code)
    assert done.code == 1 and "the source of config scope 'cfg' is not available" in done.err


def test_captured_classes_of_others_are_left_as_they_are():
    from fractions import Fraction

    ex = Experiment("exp")
    captured = ex.capture(Fraction)
    assert Fraction(3, 4) == captured(3, 4) and str(Fraction(3, 4)) == "3/4"


def test_command_line_goes_through_an_overridden_run(place):
    script = {
        "header": """
from minisacred import Experiment

class Mine(Experiment):
    def run(self, command_name=None, config_updates=None, *args, **kwargs):
        print("before", command_name, config_updates)
        run = super().run(command_name, {**config_updates, "b": 3}, *args, **kwargs)
        print("after", run.result)
        return run

ex = Mine("exp")
"""
    }
    source = """
    ex.add_config(a="1", b=2)

    @ex.main
    def main(a, b):
        return [a, b]
    """
    done = place(source, "with", "a=5", script=script)
    assert done.out == "before None {'a': 5}\nafter ['5', 3]\n" and done.code == 0
    done = place(source, "with", "c=5", script=script)
    assert done.code == 1 and done.err.startswith("exp.py: error: no config entry 'c'")


def test_loglevel_of_a_nested_run_is_its_own(place):
    source = """
    @ex.command
    def inner(_log):
        _log.info("inside")

    @ex.main
    def main(_log):
        ex.run("inner", options={"--loglevel": "ERROR"})
        _log.info("afterwards")
    """
    err = place(source).err
    assert "inside" not in err and "afterwards" in err


def test_seed_of_an_ingredient_is_its_own(ex):
    data = Ingredient("data")

    @data.config
    def config():
        seed = 1234

    @data.capture
    def split(_rnd):
        return _rnd.random()

    ex.ingredients.append(data)
    ex.main(lambda: split())
    runs = [ex.run(config_updates={"seed": seed}) for seed in (1, 2)]
    assert runs[0].result == runs[1].result
    assert ex.run(config_updates={"seed": 1, "data.seed": 7}).result != runs[0].result


def test_seed_of_an_ingredient_without_one_may_be_given(ex):
    data = Ingredient("data")
    split = data.capture(lambda _seed: _seed)
    ex.ingredients.append(data)
    ex.main(lambda: split())
    results = [ex.run(config_updates={"seed": seed, "data.seed": 7}).result for seed in (1, 2)]
    assert results[0] == results[1]


def test_ingredients_come_in_the_order_of_sacred():
    """The deepest first; of those that are as deep, in the order given."""
    environment = Ingredient("environment")
    environment.add_config(gym_id="pole")
    log = Ingredient("logging")
    seen = []

    @log.config_hook
    def hook(config, command_name, logger):
        seen.append(config["environment"]["gym_id"])

    rl = Ingredient("rl", ingredients=[environment])
    ex = Experiment("exp", ingredients=[log, environment, rl])
    for part in (environment, log, rl):
        part.pre_run_hook(lambda part=part: seen.append(part.path))
    ex.main(lambda: None)
    ex.run()
    assert seen == ["pole", "environment", "logging", "rl"]


def test_documentation_is_that_of_the_defining_file(place):
    source = '"""How it is done."""\nfrom minisacred import *\nex = Experiment("exp")\n'
    place.write(source, "other.py", header="", footer="")
    done = place.python("-c", "import other; print(other.ex.doc)")
    assert done.out == "How it is done.\n"


def test_settings_can_be_patched_copied_and_probed(monkeypatch):
    from unittest import mock

    with mock.patch.object(SETTINGS, "CAPTURE_MODE", "sys"):
        assert SETTINGS.CAPTURE_MODE == "sys"
    with monkeypatch.context() as patched:
        patched.setattr(SETTINGS, "CAPTURE_MODE", "no")
        patched.setitem(SETTINGS, "DISCOVER_SOURCES", "sys")
    assert SETTINGS.CAPTURE_MODE is None and SETTINGS["DISCOVER_SOURCES"] == "imported"
    for other in (
        copy.copy(SETTINGS),
        copy.deepcopy(SETTINGS),
        pickle.loads(pickle.dumps(SETTINGS)),
    ):
        assert other == SETTINGS and other.CONFIG.READ_ONLY_CONFIG is True
    copy.deepcopy(SETTINGS).CONFIG.READ_ONLY_CONFIG = False
    assert SETTINGS.CONFIG.READ_ONLY_CONFIG is True
    assert not hasattr(SETTINGS, "NOPE") and getattr(SETTINGS, "NOPE", 5) == 5
    with pytest.raises(SettingError, match="no setting 'NOPE'"):
        SETTINGS.NOPE


def test_host_info_getters_have_the_names_of_sacred(place):
    done = place(
        """
        @host_info_getter
        def get_ram():
            return 16

        @host_info_getter(name="greeting")
        def hello():
            return "hi"

        ex.main(lambda: None)
        """,
        "-F", "runs",
    )  # fmt: skip
    host = done.run().run["host"]
    assert host["get_ram"] == 16 and host["greeting"] == "hi"


def test_built_in_commands_are_among_the_commands(ex, capsys):
    ex.add_config(a=1)
    ex.main(lambda _run: ex.commands["print_config"](_run))
    ex.run()
    assert "  a = 1\n" in capsys.readouterr().out
    assert [name for name, _ in ex.gather_commands()][:1] == ["print_config"]


def test_nested_run_of_another_experiment_gives_shared_ingredients_back(ex):
    data = Ingredient("data")
    data.add_config(q=1)
    load = data.capture(lambda q: q)
    other = Experiment("other", ingredients=[data], base_dir=ex.base_dir, save_git_info=False)
    other.main(lambda: load())
    ex.ingredients.append(data)
    ex.main(lambda: [load(), other.run(config_updates={"data.q": 9}).result, load()])
    assert ex.run(config_updates={"data.q": 3}).result == [3, 9, 3]


def test_stored_sources_are_no_sources(place):
    source = "SETTINGS.DISCOVER_SOURCES = 'dir'\nex.main(lambda: None)\n"
    for _ in range(3):
        assert place(source, "-F", "runs").code == 0
    assert len(list((place.path / "runs/_sources").iterdir())) == 1


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ('{"py/tuple": [1, {"py/tuple": [2]}]}', "(1, (2,))"),
        ('{"json://1": 5, "json://null": 6}', "{1: 5, None: 6}"),
        ('{"py/object": "numpy.ndarray", "dtype": "int64", "values": [1, 2]}', "[1, 2]"),
        ('{"py/object": "numpy.float64", "dtype": "float64", "value": 0.5}', "0.5"),
    ],
)
def test_configurations_that_sacred_wrote_are_read(place, entry, value):
    (place.path / "old.json").write_text(f'{{"x": {entry}}}')
    done = place("ex.add_config(x=None)\nex.main(lambda x: print(repr(x)))\n", "with", "old.json")
    assert done.out == f"{value}\n", done.err


@pytest.mark.parametrize(
    "entry",
    [
        '{"py/type": "torch.nn.ReLU"}',
        '{"py/object": "numpy.dtype", "dtype": "float64"}',
        '{"py/object": "numpy.ndarray", "dtype": "float64", "values": "eJxjYACBB/YMg5QGAND2Fm0="}',
        '{"json://{\\"py/tuple\\": [1, 2]}": 3}',
        '{"json://bad": 1}',
        '{"py/tuple": 5}',
    ],
)
def test_pickled_objects_of_sacred_are_refused(place, entry):
    (place.path / "old.json").write_text(f'{{"x": {entry}}}')
    done = place("ex.add_config(x=None)\nex.main(lambda: None)\n", "with", "old.json")
    assert done.code == 1 and "old.json holds pickled objects" in done.err


def test_overridden_run_may_run_twice_and_sees_plain_values(place):
    script = {
        "header": """
import os, signal, time
from minisacred import Experiment

class Twice(Experiment):
    def run(self, command_name=None, config_updates=None, *args, **kwargs):
        assert config_updates == {"a": 5, "flag": False}, config_updates
        super().run(command_name, config_updates, *args, **kwargs)
        return super().run(command_name, config_updates, *args, **kwargs)

ex = Twice("exp")
"""
    }
    source = """
    ex.add_config(a="text", flag=True)

    @ex.main
    def main(a, flag, _run):
        assert (a, flag) == ("5", False)
        if _run._id == "2":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
    """
    done = place(source, "with", "a=5", "flag=False", "-F", "runs", script=script)
    assert done.code == -15, done.err
    assert [place.run(n).run["status"] for n in "12"] == ["COMPLETED", "INTERRUPTED"]
