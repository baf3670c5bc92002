"""Names, settings, and moving over from Sacred by one line."""

import pytest
from helpers import Workplace

import minisacred
from minisacred import SETTINGS, SettingError

NAMES = """
Experiment Ingredient Run RunObserver FileStorageObserver MongoObserver SETTINGS cli_option
host_info_gatherer apply_backspaces_and_linefeeds print_config print_dependencies
print_named_configs save_config load_runs install_as_sacred SacredError SacredInterrupt
TimeoutInterrupt ConfigError InvalidConfigError ConfigAddedError MissingConfigError
NamedConfigNotFoundError SignatureError CircularDependencyError ObserverError SettingError
__version__
""".split()

#: Has what projects write that use Sacred, and prints whether it is all of one module.
MOVED = """
import sacred
import sacred.commands
import sacred.observers as observers
from sacred import SETTINGS, Experiment, Ingredient
from sacred.commandline_options import cli_option
from sacred.commands import print_config, save_config
from sacred.config import save_config as same
from sacred.experiment import Experiment as Same
from sacred.host_info import host_info_gatherer
from sacred.ingredient import Ingredient as Part
from sacred.observers import FileStorageObserver, MongoObserver, RunObserver
from sacred.run import Run
from sacred.settings import SETTINGS as settings
from sacred.utils import apply_backspaces_and_linefeeds, SacredInterrupt, TimeoutInterrupt

for name in (
    "observers utils commands config run settings experiment ingredient host_info"
    " commandline_options"
).split():
    assert getattr(sacred, name).Experiment is Experiment is Same and Part is Ingredient
"""


def python(folder, source):
    (folder / "source.py").write_text(source)
    return Workplace(folder).python("source.py")


def test_module_exports_the_names_of_the_contract():
    assert sorted(minisacred.__all__) == sorted(NAMES)
    assert all(hasattr(minisacred, name) for name in NAMES)


SETTINGS_OF_THE_CONTRACT = {
    "": "CAPTURE_MODE DEFAULT_BEAT_INTERVAL OBSERVER_TIMEOUT DISCOVER_SOURCES"
    " DISCOVER_DEPENDENCIES",
    "CONFIG": "READ_ONLY_CONFIG IGNORED_COMMENTS NUMPY_RANDOM_LEGACY_API"
    " ENFORCE_KEYS_MONGO_COMPATIBLE ENFORCE_KEYS_JSONPICKLE_COMPATIBLE ENFORCE_STRING_KEYS"
    " ENFORCE_VALID_PYTHON_IDENTIFIER_KEYS ENFORCE_KEYS_NO_EQUALS",
    "HOST_INFO": "INCLUDE_CPU_INFO INCLUDE_GPU_INFO CAPTURED_ENV",
    "COMMAND_LINE": "STRICT_PARSING SHOW_DISABLED_OPTIONS",
}


@pytest.mark.parametrize("group", SETTINGS_OF_THE_CONTRACT)
def test_settings_have_sacreds_keys_by_attribute_and_by_key(group, monkeypatch):
    settings = SETTINGS[group] if group else SETTINGS
    for name in SETTINGS_OF_THE_CONTRACT[group].split():
        monkeypatch.setitem(settings, name, settings[name])
        setattr(settings, name, "none" if "DISCOVER" in name else "no")
        assert settings[name] == getattr(settings, name) == ("none" if "DISCOVER" in name else "no")


@pytest.mark.parametrize("group", SETTINGS_OF_THE_CONTRACT)
def test_unknown_setting_is_an_error_that_names_the_known_ones(group):
    settings = SETTINGS[group] if group else SETTINGS
    for attempt in (lambda: settings.CAPTRUE, lambda: setattr(settings, "CAPTRUE", 1)):
        with pytest.raises(SettingError, match="CAPTRUE") as caught:
            attempt()
        assert all(name in str(caught.value) for name in SETTINGS_OF_THE_CONTRACT[group].split())


@pytest.mark.parametrize("name", ["CAPTURE_MODE", "DISCOVER_SOURCES", "DISCOVER_DEPENDENCIES"])
def test_value_that_is_none_of_the_choices_is_an_error_that_names_them(name, monkeypatch):
    known = {"CAPTURE_MODE": "no sys fd", "DISCOVER_SOURCES": "imported sys dir none"}
    monkeypatch.setitem(SETTINGS, name, SETTINGS[name])
    with pytest.raises(SettingError, match="sometimes") as caught:
        SETTINGS[name] = "sometimes"
    for choice in known.get(name, "imported sys pkg none").split():
        assert repr(choice) in str(caught.value)


def test_program_and_its_libraries_move_over_with_one_line(place):
    (place.path / "library.py").write_text(MOVED)
    body = """
        import library

        ex = sacred.Experiment("moved")
        ex.observers.append(sacred.observers.FileStorageObserver.create("runs"))

        @ex.automain
        def main(_run):
            sacred.commands.print_config(_run)
        """
    header = f"import minisacred; minisacred.install_as_sacred()\n{MOVED}"
    done = place(body, script={"header": header, "footer": ""})
    assert "seed = " in done.out, done.err
    assert done.run().run["experiment"]["name"] == "moved"


def test_install_as_sacred_refuses_when_sacred_has_been_imported(tmp_path):
    (tmp_path / "sacred.py").write_text("")
    done = python(tmp_path, "import sacred, minisacred\nminisacred.install_as_sacred()")
    assert done.code == 1
    assert "minisacred.SacredError: Sacred itself has been imported" in done.err


def test_import_has_no_side_effect(tmp_path):
    done = python(
        tmp_path,
        "import logging, os, signal, sys, threading, warnings\n"
        "def state():\n"
        "    handlers = [signal.getsignal(n) for n in range(1, 20)]\n"
        "    logs = logging.root.handlers[:], logging.root.level, warnings.filters[:]\n"
        "    hooks = sys.excepthook, sys.stdout, sys.stderr, threading.active_count()\n"
        "    return handlers, logs, hooks, os.listdir(), dict(os.environ)\n"
        "before = state()\n"
        "import minisacred\n"
        "assert state() == before\n"
        "packages = {'numpy', 'torch', 'tensorflow', 'yaml', 'pymongo', 'sacred'}\n"
        "assert not packages & sys.modules.keys()\n",
    )
    assert (done.code, done.out, done.err) == (0, "", "")
