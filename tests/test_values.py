"""What values the configuration holds, wherever they come from."""

import copy
import json
import math
import pathlib
import pickle

import pytest
from helpers import strict

from minisacred import SETTINGS, ConfigError, FileStorageObserver, InvalidConfigError

PATH = pathlib.Path("data")


@pytest.fixture
def resolve(ex):
    """Return a function (entries, words, updates, named) → the entries of a run."""

    def resolve(entries, *words, updates=None, named=None):
        ex.add_config(entries)
        ex.add_named_config("named", named or {})
        ex.main(lambda: None)
        if words:
            config = ex.run_commandline(["exp.py", "with", *map(str, words)]).config
        else:
            config = ex.run(config_updates=updates, named_configs=["named"]).config
        return {name: value for name, value in config.items() if name != "seed"}

    return resolve


@pytest.fixture
def recorded(ex, tmp_path):
    """Return a function: entries → the file config.json, and what a function got."""

    def recorded(entries):
        ex.observers.append(FileStorageObserver(tmp_path))
        ex.add_config(entries)
        ex.main(lambda _config: copy.deepcopy(_config))
        return tmp_path / "1" / "config.json", ex.run().result

    return recorded


def exactly(value):
    """Return what tells values apart that are equal: 1, 1.0 and True, lists and tuples."""
    return repr(value)


def test_captured_function_gets_what_config_json_holds(recorded):
    entries = {"n": None, "b": True, "i": 1, "f": 0.5, "s": "ä", "l": [1, [2]], "d": {"x": {}}}
    path, got = recorded({**entries, "seed": 7})
    assert strict(path.read_text("utf-8")) == got == {**entries, "seed": 7}


def test_tuples_become_lists_in_scopes_and_dictionaries(ex, resolve):
    @ex.config
    def scope():
        t = ((1, 2), [(3,)])

    got = resolve({"d": {"x": (1, (2,))}})
    assert exactly(got) == exactly({"t": [[1, 2], [[3]]], "d": {"x": [1, [2]]}})


def test_keys_may_be_any_scalar_and_are_text_on_disk(recorded):
    path, got = recorded({"d": {1: "a", 0.5: "b", None: "c", "x": "d"}, "b": {True: "e"}})
    assert got["d"] == {1: "a", 0.5: "b", None: "c", "x": "d"} and got["b"] == {True: "e"}
    on_disk = strict(path.read_text())
    assert on_disk["d"].keys() == {"1", "0.5", "null", "x"} and on_disk["b"] == {"true": "e"}


def test_path_stays_one_in_the_run_and_is_text_on_disk(recorded):
    path, got = recorded({"root": PATH, "more": {"paths": [PATH / "a"]}, "seed": 1})
    assert got["root"] / "x" == pathlib.Path("data/x") and got["more"]["paths"] == [PATH / "a"]
    assert strict(path.read_text()) == {"root": "data", "more": {"paths": ["data/a"]}, "seed": 1}


def test_nan_and_infinity_are_floats_in_the_run_and_text_on_disk(recorded):
    path, got = recorded({"nan": math.nan, "more": [math.inf, -math.inf], "seed": 1})
    assert exactly(got) == exactly({"nan": math.nan, "more": [math.inf, -math.inf], "seed": 1})
    assert strict(path.read_text()) == {"nan": "NaN", "more": ["Infinity", "-Infinity"], "seed": 1}


@pytest.mark.parametrize("source", ["updates", "named", "words", "file"])
@pytest.mark.parametrize(
    "old, update, new",
    [
        ({"x": PATH}, {"x": "/other"}, {"x": pathlib.Path("/other")}),
        ({"x": 0.5}, {"x": "NaN"}, {"x": math.nan}),
        ({"x": 1}, {"x": "Infinity"}, {"x": math.inf}),
        ({"x": 1}, {"x": "-Infinity"}, {"x": -math.inf}),
        ({"x": "text"}, {"x": "NaN"}, {"x": "NaN"}),
        ({10: 1.0, "y": 2}, {"10": 0.5}, {10: 0.5, "y": 2}),
        ({None: 1.0}, {"null": 0.5}, {None: 0.5}),
        ({True: 1.0}, {"true": 0.5}, {True: 0.5}),
    ],
)
def test_text_is_what_it_replaces_wherever_an_update_comes_from(
    resolve, tmp_path, source, old, update, new
):
    (tmp_path / "c.json").write_text(json.dumps({"d": update}))
    if source in ("updates", "named"):
        got = resolve({"d": old}, **{source: {"d": update}})
    else:
        ((key, value),) = update.items()
        got = resolve({"d": old}, f"d.{key}={value}" if source == "words" else tmp_path / "c.json")
    assert exactly(got) == exactly({"d": new})


@pytest.mark.parametrize("way", ["updates", "named_configs"])
def test_recorded_configuration_can_be_given_back(ex, recorded, way):
    entries = {
        "root": PATH, "paths": [PATH], "rates": [math.inf, 1, -math.inf], "n": None, "t": (1, (2,)),
        "keys": {1: {"a": PATH}, 0.5: 2, None: "x"}, "text": "NaN", "empty": {}, "l": [],
    }  # fmt: skip
    path, first = recorded(entries)
    if way == "updates":
        again = ex.run(config_updates=strict(path.read_text()))
    else:
        again = ex.run(named_configs=[str(path)])
    assert exactly(again.config) == exactly(first)
    assert not again.config_modifications.added and not again.config_modifications.typechanged


@pytest.mark.parametrize("value", [{1, 2}, len, object(), json, ValueError], ids=type)
def test_value_that_cannot_be_stored_is_an_error_that_names_the_dotted_key(ex, value):
    ex.add_config(d={"x": [0, 1]})
    ex.main(lambda: None)
    for attempt in (
        lambda: ex.add_config({"d": {"x": [0, value]}}),
        lambda: ex.add_config(d={"x": [0, value]}),
        lambda: ex.add_named_config("new", {"d": {"x": [0, value]}}),
        lambda: ex.run(config_updates={"d": {"x": [0, value]}}),
        lambda: ex.run(config_updates={"d.x": [0, value]}),
    ):
        with pytest.raises(InvalidConfigError, match=r"d\.x\.1"):
            attempt()


@pytest.mark.parametrize("key", ["a.b", "$a", "a=b"])
def test_key_with_a_dot_a_dollar_or_an_equals_sign_is_an_error(ex, key):
    with pytest.raises(InvalidConfigError, match="d") as caught:
        ex.add_config({"d": {key: 1}})
    assert repr(key) in str(caught.value)


@pytest.mark.parametrize(
    "rule, key",
    [
        ("ENFORCE_KEYS_MONGO_COMPATIBLE", "$a"), ("ENFORCE_KEYS_MONGO_COMPATIBLE", "a.b"),
        ("ENFORCE_KEYS_NO_EQUALS", "a=b"), ("ENFORCE_KEYS_JSONPICKLE_COMPATIBLE", "json://a"),
        ("ENFORCE_STRING_KEYS", 1), ("ENFORCE_VALID_PYTHON_IDENTIFIER_KEYS", "a b"),
    ],
)  # fmt: skip
def test_rules_for_keys_can_be_switched(ex, monkeypatch, rule, key):
    for setting in [name for name in SETTINGS.CONFIG if name.startswith("ENFORCE_")]:
        monkeypatch.setitem(SETTINGS.CONFIG, setting, False)
    ex.add_config({"d": {key: 1}})
    monkeypatch.setitem(SETTINGS.CONFIG, rule, True)
    with pytest.raises(InvalidConfigError, match="d"):
        ex.add_config({"d": {key: 1}})


ENTRIES = {
    "name": "text", "load_from": "weights.pt", "flag": False, "rate": 1.0, "n": 1, "none": None,
    "layers": [1, 2, 3], "root": PATH, "d": {"x": 1, "y": {"z": "text", "on": True}},
}  # fmt: skip


@pytest.mark.parametrize(
    "word, value",
    [
        ("n=5", 5), ("n=2.5", 2.5), ("n=1e-3", 1e-3), ("n=word", "word"), ("n='quoted'", "quoted"),
        ("n=None", None), ("n=", ""), ("n=a=b", "a=b"), ("n={1, 2}", "{1, 2}"), ("n=(4, 5)", [4, 5]),
        ("rate=1000", 1000), ("none=5", 5), ("none=true", "true"), ("none=True", True),
        ("name=5", "5"), ("name=007", "007"), ("name=1e3", "1e3"), ("name=.5", ".5"),
        ("name='5'", "5"), ("name=a b", "a b"), ("load_from=None", None),
        ("flag=1", 1), ("flag=min_iou", "min_iou"), ("flag=None", None),
        ("root=/other", pathlib.Path("/other")), ("layers=[]", []), ("layers.0=9", [9, 2, 3]),
        ("d.x=2", {"x": 2, "y": {"z": "text", "on": True}}),
        ("d.y.z=7", {"x": 1, "y": {"z": "7", "on": True}}),
        ("d.y.on=off", {"x": 1, "y": {"z": "text", "on": False}}),
        ("d={'x': 3}", {"x": 3, "y": {"z": "text", "on": True}}),
    ],
)  # fmt: skip
def test_typed_value_is_a_literal_else_text_but_for_booleans_and_texts(resolve, word, value):
    name = word.partition("=")[0].partition(".")[0]
    assert exactly(resolve(ENTRIES, word)[name]) == exactly(value)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("word", ["true", "yes", "on", "false", "no", "off"])
@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_words_for_booleans_are_booleans_in_any_case(resolve, word, old, case):
    assert resolve({"flag": old}, f"flag={case(word)}")["flag"] is (word in ("true", "yes", "on"))


@pytest.mark.parametrize(
    "word, kinds", [("flag=1", "from bool to int"), ("flag=min_iou", "from bool to str")]
)
def test_other_value_over_a_boolean_is_warned_of(resolve, caplog, word, kinds):
    resolve(ENTRIES, word)
    assert "'flag'" in caplog.text and kinds in caplog.text


@pytest.mark.parametrize("word", ["name=5", "load_from=None", "rate=1000", "flag=no", "root=/x"])
def test_value_that_is_read_by_its_entry_is_not_warned_of(resolve, caplog, word):
    resolve(ENTRIES, word)
    assert "type" not in caplog.text


@pytest.mark.parametrize("words", ["named d.a=5 d.b=no d.c=3", "d.a=5 d.b=no d.c=3 named"])
def test_typed_value_follows_the_entry_that_a_named_config_made(ex, words):
    ex.add_named_config("named", {"d": {"a": "text", "b": True, "c": "Infinity"}})
    ex.add_config(d={"e": False, "f": "text"})  # another part of the dictionary, and one more:
    ex.add_config(d={"g": 1})
    config = ex.run_commandline(f"exp.py print_config with {words} d.e=no d.f=5").config
    assert config["d"] == {"a": "5", "b": False, "c": 3, "e": False, "f": "5", "g": 1}


@pytest.mark.parametrize("word", ["layers.3=1", "layers.-4=1", "d.y.list.1=0", "layers={3: 1}"])
def test_index_out_of_range_is_an_error_that_names_it(resolve, capsys, word):
    with pytest.raises(SystemExit) as caught:
        resolve({"layers": [1, 2, 3], "d": {"y": {"list": [1]}}}, word)
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 1
    assert word.partition("=")[0] in line and "out of range" in line


def test_index_that_the_list_of_a_named_config_does_not_have_is_an_error(ex):
    ex.add_config(layers=[1, 2, 3])
    ex.add_named_config("small", layers=[5])
    ex.main(lambda: None)
    with pytest.raises(InvalidConfigError, match="layers.2.*out of range"):
        ex.run(named_configs="small", config_updates={"layers.2": 9})


def test_strict_parsing_refuses_what_is_no_literal(ex, resolve, monkeypatch, capsys):
    monkeypatch.setitem(SETTINGS.COMMAND_LINE, "STRICT_PARSING", True)
    assert resolve({"name": "text"}, "name='word'")["name"] == "word"
    with pytest.raises(SystemExit):
        ex.run_commandline(["exp.py", "with", "name=word"])
    assert "word" in capsys.readouterr().err


WRITES = [
    "d['x'] = 1", "del d['x']", "d |= {'x': 1}", "d.update(x=1)", "d.pop('x')", "d.popitem()",
    "d.clear()", "d.setdefault('q', 1)", "k.append(1)", "k[0] = 5", "k += [1]", "k *= 2",
    "k.sort()", "k.reverse()", "k.insert(0, 1)", "k.extend([1])", "k.remove(1)", "k.pop()",
    "k.clear()", "del k[0]", "k[:] = []", "k[1]['y'] = 0",
]  # fmt: skip


@pytest.fixture
def within(ex):
    """Return a function that calls another one with an entry `d` and its list `d["k"]`."""
    ex.add_config(d={"x": 10, "k": [1, {"y": 2}]})

    def within(action):
        ex.main(lambda d: action(d, d["k"]))
        return ex.run().result

    return within


@pytest.mark.parametrize("write", WRITES)
def test_writing_to_the_configuration_is_an_error_that_says_how_to_copy(ex, within, write):
    with pytest.raises(ConfigError, match=r"read-only.*copy\.deepcopy"):
        within(lambda d, k: exec(write, {"d": d, "k": k}))
    assert ex.current_run.config["d"] == {"x": 10, "k": [1, {"y": 2}]}


def test_configuration_can_be_changed_where_the_setting_allows_it(within, monkeypatch):
    monkeypatch.setitem(SETTINGS.CONFIG, "READ_ONLY_CONFIG", False)
    assert within(lambda d, k: [d.update(x=11), d["x"], k.append(3), len(k)]) == [None, 11, None, 3]


def test_containers_of_the_configuration_are_dicts_and_lists(within):
    kinds = within(lambda d, k: (isinstance(d, dict), isinstance(k, list), d["k"] == [1, {"y": 2}]))
    assert kinds == (True, True, True)
    assert within(lambda d, k: json.dumps(d)) == '{"x": 10, "k": [1, {"y": 2}]}'


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_deep_and_pickled_copies_are_plain_and_can_be_changed(within, duplicate):
    def change(d, k):
        other = duplicate(d)
        assert type(other) is dict and type(other["k"]) is list and other == d
        other["k"][1]["y"] = 5
        return other["k"], k

    assert within(change) == ([1, {"y": 5}], [1, {"y": 2}])
