"""From sources, named configs and updates to one configuration."""

import collections
import contextlib
import dataclasses
import json
import pathlib
import random
import sys
import typing

import pytest

import minisacred
from minisacred import (
    ConfigAddedError,
    ConfigError,
    Experiment,
    Ingredient,
    InvalidConfigError,
    MissingConfigError,
    NamedConfigNotFoundError,
    SacredError,
)


def run(ex, updates=None, named=(), **options):
    return ex.run(config_updates=updates, named_configs=named, options=options)


@pytest.fixture
def simple(ex):
    @ex.config
    def config():
        a = 1
        b = a * 2
        name = "text"
        flag = True
        rate = 0.5
        layers = [1, 2, 3]
        nothing = None
        d = {"x": 1, "y": {"z": 2}}

    @ex.named_config
    def big():
        a = 100

    @ex.named_config
    def huge():
        a = 1000
        d = {"x": 1000}

    @ex.main
    def main(a, b, name, flag, rate, layers, nothing, d):
        pass

    return ex


def entries(run):
    return {k: v for k, v in run.config.items() if k != "seed"}


def test_sources_apply_in_the_order_added(ex, tmp_path):
    (tmp_path / "c.json").write_text('{"c": 3, "d": {"z": 3}}')

    @ex.config
    def first():
        a = 1
        d = {"x": 1}

    ex.add_config({"a": 2, "d": {"y": 2}})
    ex.add_config(b="keyword")
    ex.add_config(str(tmp_path / "c.json"))

    @ex.config
    def last(a, d):
        e = a + d["z"]

    @ex.main
    def main():
        pass

    assert entries(run(ex)) == {
        "a": 2, "b": "keyword", "c": 3, "d": {"x": 1, "y": 2, "z": 3}, "e": 5,
    }  # fmt: skip


def test_dataclass_instance_as_source(ex):
    @dataclasses.dataclass
    class Inner:
        x: int = 1

    @dataclasses.dataclass
    class Config:
        inner: Inner = dataclasses.field(default_factory=Inner)
        rates: tuple = (0.1, 0.2)

    ex.add_config(Config())
    ex.main(lambda: None)
    assert entries(run(ex)) == {"inner": {"x": 1}, "rates": (0.1, 0.2)}


def test_updates_nested_and_dotted_at_any_depth(simple):
    assert run(simple, {"d.y.z": 5}).config["d"] == {"x": 1, "y": {"z": 5}}
    assert run(simple, {"d": {"y.z": 6, "x": 7}}).config["d"] == {"x": 7, "y": {"z": 6}}
    assert run(simple, {"a": 5}).config["b"] == 10


def test_named_configs_apply_in_order_and_never_beat_updates(simple):
    assert run(simple, named=["big", "huge"]).config["a"] == 1000
    assert run(simple, named=["huge", "big"]).config["a"] == 100
    got = run(simple, {"a": 3}, ["huge"]).config
    assert (got["a"], got["b"], got["d"]["x"]) == (3, 6, 1000)


def test_unknown_entry_is_an_error_that_names_the_closest(simple):
    with pytest.raises(ConfigAddedError) as caught:
        run(simple, {"lyers": 1})
    assert str(caught.value) == (
        "no config entry 'lyers'; did you mean 'layers'? "
        "(known: a, b, d, d.x, d.y.z, flag, layers, name, nothing, rate, seed; "
        "--force adds it anyway)"
    )
    assert run(simple, {"lyers": 1}, force=True).config["lyers"] == 1


def test_added_entry_that_a_function_uses_is_a_warning(simple, caplog):
    @simple.capture
    def f(extra):
        pass

    assert run(simple, {"extra": 1}).config["extra"] == 1
    assert "added new config entry 'extra'" in caplog.text


def test_unknown_key_in_a_known_dictionary_is_a_warning_with_the_closest(simple, caplog):
    assert run(simple, {"d.xx": 1}).config["d"]["xx"] == 1
    assert "'d.xx'; did you mean 'd.x'?" in caplog.text


def test_type_changes_are_warned_of(simple, caplog):
    run(simple, {"a": "text"})
    assert "changed type of config entry 'a' from int to str" in caplog.text
    caplog.clear()
    run(simple, {"rate": 1, "nothing": 5, "a": 2.5})
    run(simple, {"a": "text"}, force=True)
    assert "changed type" not in caplog.text


def test_seed_is_always_an_entry_and_fixes_what_scopes_draw(ex):
    import random

    @ex.config
    def config():
        drawn = random.random()

    @ex.main
    def main():
        return random.random()

    first = run(ex)
    again = run(ex, {"seed": first.config["seed"]})
    other = run(ex)
    assert first.config == again.config and first.result == again.result
    assert other.config["seed"] != first.config["seed"] and other.result != first.result


def test_config_hooks_get_everything_and_their_updates_apply(ex):
    data = Ingredient("data", base_dir=".")

    @data.config
    def data_config():
        path = "x"

    @data.config_hook
    def data_hook(config, command_name, logger):
        assert config["data"]["path"] == "x"
        return {"path": command_name}

    ex.ingredients.append(data)

    @ex.config
    def config():
        a = 1

    @ex.config_hook
    def hook(config, command_name, logger):
        logger.info("hooked")
        return {"a": config["a"] + 1}

    @ex.main
    def main(a):
        pass

    assert entries(run(ex)) == {"a": 2, "data": {"path": "main"}}


def test_ingredient_values_reach_scopes_and_updates_reach_ingredients(ex):
    data = Ingredient("data", base_dir=".")

    @data.config
    def data_config():
        n = 2
        squares = [i * n for i in range(n)]

    ex.ingredients.append(data)

    @ex.config
    def config(data):
        m = data["n"] + 1

    @ex.main
    def main(m):
        pass

    assert entries(run(ex, {"data.n": 3})) == {"data": {"n": 3, "squares": [0, 3, 6]}, "m": 4}
    with pytest.raises(ConfigAddedError, match="data.nn.*did you mean 'data.n'"):
        run(ex, {"data.nn": 3})


def test_dict_of_the_experiment_overrides_an_ingredient(ex):
    data = Ingredient("data", base_dir=".")
    data.add_config(n=2, m=3)
    ex.ingredients.append(data)

    @ex.config
    def config():
        data = {"n": 5}

    ex.main(lambda: None)
    assert entries(run(ex)) == {"data": {"n": 5, "m": 3}}


@pytest.mark.parametrize(
    "argument, key, expected",
    [
        ("name=5", "name", "5"),
        ("name=None", "name", "None"),
        ("name='quoted'", "name", "quoted"),
        ("flag=no", "flag", False),
        ("flag=On", "flag", True),
        ("flag=FALSE", "flag", False),
        ("rate=1", "rate", 1.0),
        ("a=2.5", "a", 2.5),
        ("a=word", "a", "word"),
        ("nothing=5", "nothing", 5),
        ("layers=(4, 5)", "layers", [4, 5]),
        ("layers=4,5", "layers", [4, 5]),
        ("layers.0=9", "layers", [9, 2, 3]),
        ("layers.-1=9", "layers", [1, 2, 9]),
        ("d.y.z=7", "d", {"x": 1, "y": {"z": 7}}),
        ("d={'x': 3}", "d", {"x": 3, "y": {"z": 2}}),
    ],
)
def test_values_of_the_command_line_take_the_type_of_their_entry(simple, argument, key, expected):
    got = simple.run_commandline(["exp.py", "with", argument]).config[key]
    assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize(
    "argument, message",
    [
        ("flag=maybe", "flag=maybe: the entry is a boolean; write true or false"),
        ("flag=1", "flag=1: the entry is a boolean; write true or false"),
        ("layers.3=1", "layers.3: index out of range; 'layers' has 3 elements, counted from 0"),
        ("d.a$=1", None),
    ],
)
def test_values_that_do_not_fit_are_errors(simple, argument, message, capsys):
    if message is None:
        return
    with pytest.raises(SystemExit) as caught:
        simple.run_commandline(["exp.py", "with", argument])
    assert caught.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"exp.py: error: {message}; see --help"


@pytest.mark.parametrize("value", [{1, 2}, len, object(), {"a": [len]}, {(1, 2): 3}])
def test_values_that_cannot_be_stored_are_errors_outside_scopes(simple, value):
    with pytest.raises(InvalidConfigError, match="^a"):
        run(simple, {"a": value})
    with pytest.raises(InvalidConfigError, match="^a"):
        simple.add_config(a=value)
    with pytest.raises(InvalidConfigError, match="^a"):
        simple.add_named_config("new", {"a": value})


def test_cyclic_value_is_an_error(simple):
    cycle = {}
    cycle["self"] = cycle
    with pytest.raises(InvalidConfigError, match="containing itself"):
        run(simple, {"a": cycle})


@pytest.mark.parametrize("key", ["a.b", "$a", "a=b"])
def test_keys_that_cannot_be_stored_are_errors(ex, key):
    with pytest.raises(InvalidConfigError, match="choose another name"):
        ex.add_config({"d": {key: 1}})


def test_tuples_and_scalar_keys_stay_while_the_run_lasts(ex, tmp_path):
    from minisacred import FileStorageObserver

    ex.observers.append(FileStorageObserver(tmp_path))

    @ex.config
    def config():
        t = (1, (2, 3))
        k = {1: "one", None: "none", 1.5: "float"}

    @ex.main
    def main(t, k):
        assert t == (1, (2, 3)) and k[1] == "one"

    run(ex)
    saved = json.loads((tmp_path / "1" / "config.json").read_text())
    assert saved["t"] == [1, [2, 3]]
    assert saved["k"] == {"1": "one", "null": "none", "1.5": "float"}


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("c.json", "{", "is malformed"),
        ("c.json", "[1]", "holds no mapping"),
        ("c.pickle", "", "loading a pickle runs the code in it"),
        ("c.ini", "", "unknown kind of config file"),
        ("missing.json", None, "No such file"),
    ],
)
def test_bad_config_files_are_errors(simple, tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    for attempt in (simple.add_config, lambda p: run(simple, named=[p])):
        with pytest.raises(ConfigError, match=message):
            attempt(str(path))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib needs Python 3.11")
def test_toml_file(simple, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("a = 7\n[d]\nx = 8\n")
    assert run(simple, named=[str(path)]).config["b"] == 14
    path.write_text("a = ")
    with pytest.raises(ConfigError, match="malformed"):
        run(simple, named=[str(path)])


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="tomllib is there")
def test_toml_before_3_11_says_so(simple, tmp_path):
    (tmp_path / "c.toml").write_text("a = 7")
    with pytest.raises(ConfigError, match="3.11"):
        run(simple, named=[str(tmp_path / "c.toml")])


def test_yaml_without_pyyaml_names_the_install(simple, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "c.yaml").write_text("a: 7")
    with pytest.raises(ConfigError, match="pip install PyYAML"):
        simple.add_config(tmp_path / "c.yaml")


def test_unknown_named_config_names_the_closest(simple):
    with pytest.raises(NamedConfigNotFoundError) as caught:
        run(simple, named=["bigg"])
    assert str(caught.value) == (
        "no named config or config file 'bigg'; did you mean 'big'? (known: big, huge)"
    )


def test_named_config_of_an_ingredient_and_dictionaries_as_named_configs(ex):
    data = Ingredient("data", base_dir=".")
    data.add_config(n=1)
    data.add_named_config("many", n=100)
    ex.ingredients.append(data)
    ex.main(lambda: None)
    assert run(ex, named="data.many").config["data"] == {"n": 100}


def test_scope_parameter_that_no_source_makes_is_an_error(ex):
    @ex.config
    def config(nothing):
        a = 1

    ex.main(lambda: None)
    with pytest.raises(MissingConfigError, match="nothing"):
        run(ex)


def test_update_that_only_a_parameter_knows(ex, caplog):
    @ex.config
    def config(extra):
        doubled = extra * 2

    @ex.main
    def main(extra):
        pass

    assert entries(run(ex, {"extra": 4})) == {"extra": 4, "doubled": 8}


def test_modifications_tell_what_changed(simple):
    changes = run(simple, {"a": 5, "d.q": 1, "name": 3}).config_modifications
    assert changes.modified == {"a", "name"}
    assert changes.added == {"d.q"}
    assert changes.typechanged == {"name": (str, int)}


def test_resolution_is_idempotent(simple):
    first = run(simple, {"a": 5})
    again = run(simple, first.config)
    assert again.config == first.config


def test_saved_configuration_repeats_a_run(ex, tmp_path):
    @ex.config
    def config():
        t = (1, 2)
        inf = float("inf")
        d = {"k": [1, {"z": 2}]}

    @ex.main
    def main(t, inf, d):
        return repr((t, inf, d))

    path = tmp_path / "c.json"
    first = run(ex)
    from minisacred import _json_bytes, _jsonable

    path.write_bytes(_json_bytes(_jsonable(first.config)))
    assert run(ex, named=[str(path)]).result == first.result


def test_nest_and_flatten_are_inverse():
    import random

    from minisacred import _leaves, _nested

    rng = random.Random(1)

    def tree(depth):
        return {
            f"k{i}": tree(depth - 1) if depth and rng.random() < 0.6 else rng.random()
            for i in range(rng.randint(1, 4))
        }

    for _ in range(50):
        made = tree(4)
        assert _nested(dict(_leaves(made))) == made


def test_updates_win_over_hooks_and_may_name_their_entries(ex):
    @ex.config
    def config():
        x = 1
        y = x * 2

    @ex.config_hook
    def hook(config, command_name, logger):
        return {"x": 42, "hooked": {"deep": 5}}

    ex.main(lambda: None)
    assert entries(run(ex)) == {"x": 42, "y": 2, "hooked": {"deep": 5}}
    changed = run(ex, {"x": 7, "hooked.deep": 8})
    assert entries(changed) == {"x": 7, "y": 14, "hooked": {"deep": 8}}
    assert changed.config_modifications.added == set()


def test_copies_of_a_fixed_dictionary_are_free(ex):
    import copy

    @ex.config
    def config():
        base = {"x": {"y": 1}, "l": [1]}
        deep = copy.deepcopy(base)
        deep["x"]["y"] = 77
        shallow = copy.copy(base)
        shallow["x"] = 0
        method = base.copy()
        method["x"] = 1

    ex.main(lambda: None)
    got = entries(run(ex, {"base.x.y": 5}))
    assert got["base"] == {"x": {"y": 5}, "l": [1]} and got["deep"]["x"] == {"y": 77}
    assert got["shallow"]["x"] == 0 and got["method"]["x"] == 1


def test_name_within_a_list_is_an_error(simple):
    with pytest.raises(InvalidConfigError, match="layers.size: 'layers' is a list; name an elem"):
        run(simple, {"layers.size": 3})


Pair = collections.namedtuple("Pair", "x y")


def layers():
    layers = [64, 64]
    units = sum(layers)


def folder():
    root = pathlib.Path("data")
    train = root / "train.csv"


def default_dict():
    groups = collections.defaultdict(list)
    groups["a"].append(1)


def counter():
    counts = collections.Counter("a")
    counts["a"] += 1


def ordered():
    order = collections.OrderedDict(z=1)
    order.move_to_end("z")


def pair():
    pair = Pair(1, 2)
    x = pair.x


def target_with_a_loop():
    d = {1: 2, 3: 4}
    d[max(k for k in d)] = 0


def all_locals():
    lr = 0.1
    everything = dict(locals())


def odd_keys():
    schedule = {0.5: "half", None: 1, True: 2, 7: 3}


def texts():
    form = "{:d}"
    blank = ","


def mixed():
    d = {"lr": 0.1, "name": "a", "flag": True}


def outer_name():
    n = 0

    def increase():
        nonlocal n
        n += 1

    increase()
    m = n + 1


def two_levels():
    x = 1

    def outer():
        x = 2

        def inner():
            nonlocal x
            x = 3

        inner()
        return x

    y = outer()


def shared_parameter():
    x = 1

    def outer(x):
        def inner():
            nonlocal x
            x = 3

        inner()
        return x

    y = outer(2)


def numbers_one_by_one():
    d = {}
    for i in range(3):
        d[i] = i * 10


def two_contexts():
    with contextlib.nullcontext(1) as a, contextlib.nullcontext(a * 2) as b:
        pass


def default_of_a_lambda():
    f = lambda a=(n := 4): a
    m = n


@pytest.mark.parametrize(
    "scope, words, expected",
    [
        (layers, "large layers.0=100", {"layers": [100, 512, 512], "units": 1124}),
        (layers, "large layers.2=100", {"layers": [512, 512, 100], "units": 1124}),
        (layers, "layers=[1,2,3] layers.0=9", {"layers": [9, 2, 3], "units": 14}),
        (layers, "FILE layers.0=9", {"layers": [9, 8], "units": 17}),
        (folder, "root=/mnt", {"root": "/mnt", "train": "/mnt/train.csv"}),
        (folder, "root=2024", {"root": "2024", "train": "2024/train.csv"}),
        (default_dict, "groups.b=3", {"groups": {"a": [1], "b": 3}}),
        (counter, "counts.b=3", {"counts": {"a": 2, "b": 3}}),
        (ordered, "order.a=3", {"order": {"a": 3, "z": 1}}),
        (pair, "pair.0=3", {"pair": (3, 2), "x": 3}),
        (pair, "pair=(5,6)", {"pair": (5, 6), "x": 5}),
        (target_with_a_loop, "", {"d": {1: 2, 3: 0}}),
        (target_with_a_loop, "d.1=5", {"d": {1: 5, 3: 0}}),
        (all_locals, "lr=2", {"lr": 2.0, "everything": {"lr": 2.0}}),
        (odd_keys, "schedule.null=4", {"schedule": {0.5: "half", None: 4, True: 2, 7: 3}}),
        (texts, "form={} blank=\t", {"form": "{}", "blank": "\t"}),
        (texts, "form={0}", {"form": "{0}", "blank": ","}),
        (mixed, "d={'lr':1,'name':5}", {"d": {"lr": 1.0, "name": "5", "flag": True}}),
        (mixed, "d={'lr':1} d={'name':'b'}", {"d": {"lr": 1.0, "name": "b", "flag": True}}),
        (mixed, "d={'lr':1} d.lr=2", {"d": {"lr": 2.0, "name": "a", "flag": True}}),
        (outer_name, "n=10", {"n": 10, "m": 11}),
        (two_levels, "x=10", {"x": 10, "y": 3}),
        (shared_parameter, "x=10", {"x": 10, "y": 3}),
        (numbers_one_by_one, "d.1=5", {"d": {0: 0, 1: 5, 2: 20}, "i": 2}),
        (two_contexts, "a=10", {"a": 10, "b": 20}),
        (default_of_a_lambda, "n=7", {"n": 7, "m": 7}),
    ],
)
def test_updates_win_and_keep_the_kind_of_what_they_replace(ex, tmp_path, scope, words, expected):
    (tmp_path / "layers.json").write_text('{"layers": [7, 8]}')
    ex.config(scope)
    ex.add_named_config("large", layers=[512, 512, 512])
    ex.main(lambda: None)
    words = words.replace("FILE", str(tmp_path / "layers.json"))
    run = ex.run_commandline(["exp", "with", *words.split(" ")])
    assert entries(run) == expected
    assert {type(run.config[k]) for k in expected} == {type(v) for v in expected.values()}


@pytest.mark.parametrize("update", ["pair.5=9", "pair.-3=9", "pair.²=9", "pair.x=9"])
def test_elements_that_a_tuple_lacks_are_refused(ex, update, capsys):
    ex.config(pair)
    ex.main(lambda pair: None)
    with pytest.raises(SystemExit):
        ex.run_commandline(["exp", "with", update])
    assert "error: " + update.partition("=")[0] in capsys.readouterr().err


def test_seed_of_a_named_config_fixes_what_scopes_draw(ex):
    @ex.config
    def config():
        x = random.random()

    ex.add_named_config("seeded", seed=7)
    ex.main(lambda: None)
    first, second = ex.run(named_configs="seeded"), ex.run(config_updates={"seed": 7})
    assert first.config == second.config


def test_config_hook_sets_elements_of_lists(ex):
    ex.add_config(layers=[64, 64])

    @ex.config_hook
    def hook(config, command_name, logger):
        return {"layers.0": 5}

    ex.main(lambda: None)
    assert entries(ex.run()) == {"layers": [5, 64]}


def test_config_hook_that_returns_no_dictionary_is_refused(ex):
    @ex.config_hook
    def hook(config, command_name, logger):
        return 5

    ex.main(lambda: None)
    with pytest.raises(ConfigError, match="config hook 'hook' must return a dictionary, not 5"):
        ex.run()


def test_configuration_with_keys_of_all_kinds_is_read_back_from_its_file(ex, tmp_path):
    from minisacred import _json_bytes, _jsonable

    ex.config(odd_keys)
    ex.main(lambda: None)
    first = ex.run()
    (tmp_path / "config.json").write_bytes(_json_bytes(_jsonable(first.config)))
    assert ex.run(named_configs=[str(tmp_path / "config.json")]).config == first.config


def test_value_that_no_entry_can_hold_is_refused(ex, capsys):
    ex.add_config(n=3)
    ex.main(lambda n: None)
    with pytest.raises(SystemExit):
        ex.run_commandline(["exp", "with", "n={0}"])
    assert "n: a value of type set cannot be stored" in capsys.readouterr().err


def test_ingredient_may_be_given_as_a_literal():
    part = Ingredient("part")
    part.add_config(norm=True, n=3)
    ex = Experiment("exp", ingredients=[part])
    ex.main(lambda: None)
    run = ex.run_commandline(["exp", "with", "part={'norm': False}"])
    assert run.config["part"] == {"norm": False, "n": 3}


def test_empty_key_is_read_back_as_an_update(ex):
    ex.add_config(d={"": 1, "_a": 2})
    ex.main(lambda d: None)
    assert entries(ex.run(config_updates={"d": {"": 5}})) == {"d": {"": 5, "_a": 2}}


def test_list_that_contains_itself_is_left_out(ex, caplog):
    @ex.config
    def config():
        a = 1
        endless = []
        endless.append(endless)

    ex.main(lambda: None)
    assert entries(ex.run()) == {"a": 1} and "'endless' is left out" in caplog.text


def test_entry_that_setdefault_makes_is_no_addition(ex, caplog):
    @ex.config
    def config():
        d = {}
        y = d.setdefault("x", 1) * 2

    ex.main(lambda d, y: None)
    done = run(ex, {"d": {"x": 5}})
    assert entries(done) == {"d": {"x": 5}, "y": 10}
    assert not done.config_modifications.added and "new config entry" not in caplog.text


@pytest.mark.parametrize("old", [[1, 2], (1, 2)])
def test_empty_dictionary_replaces_a_list(ex, old):
    ex.add_config(s=old)
    ex.main(lambda s: None)
    done = ex.run_commandline("exp with s={}")
    assert done.config["s"] == {} and done.config_modifications.typechanged.keys() == {"s"}


@pytest.mark.parametrize("default", ["[]", "()"])
def test_recorded_configuration_runs_again_where_a_list_becomes_a_dictionary(ex, default):
    start = eval(default)

    @ex.config
    def defaults():
        augment = start

    @ex.config
    def with_options(augment):
        augment = {name: {} for name in ["flip", *augment]}

    ex.main(lambda augment: augment)
    first = run(ex)
    again = run(ex, first.config)
    assert again.config == first.config == {"augment": {"flip": {}}, "seed": first.config["seed"]}


def test_scope_deletes_from_its_parameters(ex):
    ex.add_config(opt={"kind": "sgd", "momentum": 0.9, "sub": {"u": 1, "v": 2}})

    @ex.config
    def clean(opt):
        del opt["momentum"]
        opt["sub"].pop("u")
        n = len(opt)

    ex.main(lambda opt, n: None)
    assert entries(run(ex)) == {"opt": {"kind": "sgd", "sub": {"v": 2}}, "n": 2}
    assert run(ex, {"opt.momentum": 0.5}).config["opt"]["momentum"] == 0.5


def test_list_that_only_an_update_has_keeps_its_value(ex):
    @ex.config
    def config():
        opt = {"kind": "sgd"}
        if "stages" in opt:
            opt["stages"].append(100)
            opt["more"]["inner"][0].append(100)

    ex.main(lambda opt: None)
    updates = {"opt": {"stages": [1, 2], "more": {"inner": [[3]]}}}
    done = run(ex, updates)
    assert done.config["opt"] == {"kind": "sgd", **updates["opt"]}
    assert updates == {"opt": {"stages": [1, 2], "more": {"inner": [[3]]}}}


def test_what_is_inside_a_fixed_list_keeps_its_value(ex):
    @ex.config
    def config():
        layers = [{"units": 64}, {"units": 32}]
        for _layer in layers:
            _layer["units"] *= 2
        total = sum(layer["units"] for layer in layers)
        nested = [[1]]
        nested[0].append(3)
        count = len(nested[0])

    ex.main(lambda layers, total, nested, count: None)
    done = run(ex, {"layers": [{"units": 10}], "nested": [[5], 6]})
    assert entries(done) == {
        "layers": [{"units": 10}], "total": 10, "nested": [[5], 6], "count": 1,
    }  # fmt: skip


def test_namedtuple_stays_one_whatever_kind_of_row_replaces_it(ex):
    Size = collections.namedtuple("Size", "x y")

    @ex.config
    def config():
        size = Size(3, 4)
        area = size.x * size.y

    @ex.named_config
    def big():
        size = Size(30, 40)

    ex.main(lambda area: area)
    for update in ([5, 6], (5, 6), Size(5, 6)):
        assert run(ex, {"size": update}).result == 30
    assert run(ex, named=["big"]).result == 1200


def test_literal_dictionary_replaces_a_list_with_a_warning(ex, caplog):
    ex.add_config(transforms=[])
    ex.main(lambda transforms: transforms)
    done = ex.run_commandline(["exp", "with", "transforms={'flip': True}"])
    assert done.result == {"flip": True}
    assert "changed type of config entry 'transforms' from list to dict" in caplog.text


def test_fields_of_a_class_are_no_entries(ex):
    @dataclasses.dataclass
    class Options:
        x: int = 1
        shared: typing.ClassVar[int] = 7
        only: dataclasses.InitVar[int] = 3

    ex.add_config(Options())
    ex.main(lambda x: x)
    assert entries(run(ex)) == {"x": 1}


def test_values_keep_their_types_in_dictionaries_that_only_updates_have(ex):
    @ex.config
    def config():
        d = {}
        if "sub" not in d:
            d["sub"] = {}
        d["sub"]["x"] = 1.5
        d["sub"]["name"] = "abc"
        d["sub"]["flag"] = True

    ex.main(lambda d: d)
    done = ex.run_commandline("exp with d.sub.x=2 d.sub.name=5 d.sub.flag=no")
    assert repr(done.config["d"]) == "{'sub': {'x': 2.0, 'name': '5', 'flag': False}}"


def test_scope_that_lets_go_of_a_parameter_leaves_the_entry(ex):
    ex.add_config(d={"a": 1})

    @ex.config
    def config(d):
        e = d["a"]
        del d

    ex.main(lambda d, e: None)
    assert entries(run(ex)) == {"d": {"a": 1}, "e": 1}


def test_elements_may_come_later(ex):
    @ex.config
    def first():
        row = (1, 2)
        row = (*row, 3)
        layers = [1, 2]

    @ex.config
    def second(layers):
        layers.append(3)
        total = sum(layers)

    ex.main(lambda row, layers, total: None)
    done = run(ex, {"row.2": 9, "layers.2": 9})
    assert entries(done) == {"row": (1, 2, 9), "layers": [1, 2, 9], "total": 12}
    with pytest.raises(InvalidConfigError, match="layers.5: index out of range"):
        run(ex, {"layers.5": 9})
    with pytest.raises(InvalidConfigError, match="row.5: index out of range"):
        run(ex, {"row.5": 9})


OPTIMIZER = """
@ex.config
def base():
    opt = {"layers": [64, 64], "nesterov": True, "lr": 0.1, "betas": (0.9, 0.99)}

{}

@ex.main
def main(opt):
    print(opt)
"""


@pytest.mark.parametrize(
    "second",
    [
        "@ex.config\ndef more():\n    opt = {'decay': 0.5}",
        "ex.add_config({'opt': {'decay': 0.5}})",
        "@ex.config_hook\ndef hook(config, command_name, logger): return {'opt': {'decay': 0.5}}",
    ],
)
def test_updates_keep_their_types_where_a_second_source_adds_keys(place, second):
    updates = ["opt.nesterov=no", "opt.layers.0=9", "opt.lr=1", "opt.betas=[1,1]"]
    done = place(OPTIMIZER.replace("{}", second), "with", *updates)
    assert done.out == (
        "{'layers': [9, 64], 'nesterov': False, 'lr': 1.0, 'betas': (1, 1), 'decay': 0.5}\n"
    )
    done = place(OPTIMIZER.replace("{}", second), "with", "opt.layers.7=9")
    assert done.code == 1 and "opt.layers.7: index out of range" in done.err


def test_update_of_an_element_where_a_second_source_adds_keys(ex):
    ex.add_config({"opt": {"layers": [1, 2]}})
    ex.add_config({"opt": {"decay": 0.5}})
    ex.main(lambda opt: opt)
    assert ex.run(config_updates={"opt.layers.0": 9}).result == {"layers": [9, 2], "decay": 0.5}


def test_ingredient_inside_the_path_of_another(ex):
    data = Ingredient("data", interactive=True)
    data.add_config(root="/d")
    loader = Ingredient("data.loader", ingredients=[data], interactive=True)
    loader.add_config(batch=8)
    model = Ingredient("model", ingredients=[data, loader], interactive=True)

    @model.capture
    def build(data):
        return data

    ex.ingredients.append(model)
    ex.main(lambda: build())
    assert ex.run().result == {"root": "/d", "loader": {"batch": 8}}


@pytest.mark.parametrize(("text", "value"), [("inf", "inf"), ("-inf", "-inf"), ("1e999", "inf")])
def test_infinite_values_for_integers(text, value):
    entry = minisacred._Typed(text).as_type_of(3, "n")
    assert entry == float(value) and isinstance(entry, float)


def test_seed_that_is_no_text_is_one_line(place):
    done = place(
        "@ex.main\ndef main(): pass\n", "with", b"seed=\xff".decode("utf-8", "surrogateescape")
    )
    assert done.code == 1 and done.err == "exp.py: error: seed: '\\udcff' is no text; see --help\n"


def test_errors_take_the_arguments_of_sacred():
    error = InvalidConfigError("bad", conflicting_configs=("lr", "steps"), print_traceback=False)
    assert str(error) == "bad (lr, steps)"
    assert str(MissingConfigError("set the path!", "path")) == "set the path! (path)"
    assert str(SacredError("no", print_traceback=False, filter_traceback="never")) == "no"


def test_scope_with_a_wrapper_is_the_function_inside(ex):
    import functools

    def traced(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    @ex.config
    @traced
    def config():
        a = 1
        b = a + 1

    ex.main(lambda a, b: (a, b))
    assert ex.run(config_updates={"a": 5}).result == (5, 6)


def test_values_for_entries_of_named_configs_take_their_types(place):
    body = """
        @ex.named_config
        def n():
            p = True
            lr = 0.5
            e = {"q": True}

        @ex.main
        def main(p=None, lr=None, e=None):
            print(p, lr, e)
        """
    assert place(body, "with", "n", "p=no", "lr=3", "e.q=no").out == "False 3.0 {'q': False}\n"
    assert place(body, "with", "p=yes", "n", "lr=3").out == "True 3.0 {'q': True}\n"


@pytest.mark.parametrize(
    "second", ["def second(d): d.setdefault('b', True)", "def second(d): d = {**d, 'b': True}"]
)
def test_second_scope_that_adds_a_key_gives_it_its_type(place, second):
    body = f"""
        @ex.config
        def first(): d = {{"x": 1}}

        @ex.config
        {second}

        @ex.main
        def main(d, _run): print(dict(d), sorted(_run.config_modifications.modified))
        """
    assert place(body, "with", "d.b=no").out == "{'x': 1, 'b': False} ['d.b']\n"


def test_unknown_key_is_remarked_where_a_second_scope_copies_the_dictionary(place):
    done = place(
        """
        @ex.config
        def first(): d = {"x": 1}

        @ex.config
        def second(d): d = {**d, "y": 2}

        @ex.main
        def main(d): pass
        """,
        "with", "d.zz=1",
    )  # fmt: skip
    assert "added new config entry 'd.zz'" in done.err


def test_captured_function_called_by_a_scope_never_has_the_last_run(ex):
    ex.add_config(n=3)

    @ex.capture
    def double(n):
        return 2 * n

    ex.main(lambda: double())
    ex.run()

    @ex.config
    def late():
        m = double()

    with pytest.raises(MissingConfigError, match="double"):
        ex.run(config_updates={"n": 50})
    assert double() == 6


@pytest.mark.parametrize(
    "line",
    [
        'd["z"] = 5', "d.update(z=5)", 'd.setdefault("z", 5)', 'd |= {"z": 5}', "d.update(n={}); d['n'].update(m=5)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [5, 6])
def test_entry_that_the_scope_assigns_is_no_addition_though_it_has_its_value(place, line, value):
    source = f"""
        @ex.config
        def config():
            d = {{"x": 1}}
            {line}

        @ex.main
        def main(d, _run):
            print(sorted(_run.config_modifications.added), d)
    """
    update = "d.n.m" if "'n'" in line else "d.z"
    done = place(source, "with", f"{update}={value}", "-l", "WARNING")
    assert done.out.startswith("[] ") and "new config entry" not in done.err
    assert "': " + str(value) in done.out


def test_entry_that_a_later_dictionary_has_is_no_addition_though_it_has_its_value(ex, caplog):
    ex.add_config(d={"x": 1})
    ex.add_config(d={"z": 5, "n": {"m": 5}})
    ex.main(lambda d: None)
    done = run(ex, {"d": {"z": 5, "n": {"m": 5}}})
    assert done.config["d"] == {"x": 1, "z": 5, "n": {"m": 5}}
    assert not done.config_modifications.added and "new config entry" not in caplog.text
    added = run(ex, {"d": {"y": 5}})
    assert added.config_modifications.added == {"d.y"} and "new config entry 'd.y'" in caplog.text


def test_a_seed_among_the_entries_repeats_what_scopes_draw(ex):
    data = Ingredient("data", base_dir=".")

    @data.config
    def data_config():
        n = random.random()

    ex.ingredients.append(data)
    ex.add_config(seed=5)

    @ex.config
    def config():
        a = random.random()

    ex.main(lambda: None)
    first, second = entries(run(ex)), entries(run(ex))
    assert first == second != entries(run(ex, {"seed": 6}))


def test_a_seed_that_a_scope_assigns_repeats_what_it_draws_from_there_on(ex):
    @ex.config
    def config():
        seed = 5
        a = random.random()

    @ex.config
    def more():
        b = random.random()

    ex.main(lambda: None)
    assert run(ex).config == run(ex).config == run(ex, {"seed": 5}).config
    assert run(ex, {"seed": 6}).config["a"] != run(ex).config["a"]


def test_update_that_a_parameter_of_a_scope_needs_is_accepted(ex, caplog):
    @ex.config
    def config(base):
        a = base + 1

    ex.main(lambda a: a)
    assert entries(run(ex, {"base": 3})) == {"base": 3, "a": 4}
    assert "added new config entry 'base'" in caplog.text
    with pytest.raises(MissingConfigError, match="needs 'base'"):
        run(ex)


def test_dotted_keys_of_a_file_are_refused_wherever_it_is_given(ex, tmp_path):
    (tmp_path / "dotted.json").write_text('{"a.b": 3}')
    ex.add_config(a={"b": 1})
    ex.main(lambda a: None)
    with pytest.raises(InvalidConfigError, match=r"a\.b"):
        run(ex, named=[str(tmp_path / "dotted.json")])


def test_empty_dictionary_changes_nothing_of_an_ingredient(ex):
    data = Ingredient("data", base_dir=".")
    data.add_config(n=1)
    ex.ingredients.append(data)
    ex.main(lambda: None)
    for done in (ex.run_commandline("exp with data={}"), run(ex, {"data": {}})):
        assert entries(done) == {"data": {"n": 1}} and not done.config_modifications.added


def test_what_cannot_be_stored_is_refused_without_another_warning(place):
    source = """
        @ex.config
        def config():
            n = [1]

        @ex.main
        def main(n):
            pass
    """
    done = place(source, "with", "n=[1,{2}]")
    assert done.code == 1 and "left out" not in done.err
    assert "n.1: a value of type set cannot be stored" in done.err
