"""What published experiments do with Sacred works here, their import lines changed."""

import logging

import pytest
from helpers import strict

from minisacred import SETTINGS, ConfigError, Experiment, Ingredient, RunObserver, SettingError


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
    assert "name is a text, so None is the text, too" in done.err
