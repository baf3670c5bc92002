"""Captured functions: missing parameters come from the configuration."""

import asyncio
import copy
import inspect
import json
import pickle
import random
import threading
import typing

import pytest

import minisacred
from minisacred import SETTINGS, ConfigError, Ingredient, MissingConfigError, SignatureError


@pytest.fixture
def within(ex):
    """Return a function that calls another one within a run of `ex`."""
    ex.add_config(a=1, b=2, c=3, d={"x": 10, "l": [1, {"y": 2}]}, t=(1, 2), seed=42)

    def call(action):
        holder = {"action": action}
        ex.main(lambda _config: holder["action"]())
        return ex.run().result

    return call


def test_passed_arguments_beat_configuration_beats_defaults(ex, within):
    @ex.capture
    def f(a, b=20, e=50, *, c=30, g=70):
        return (a, b, e, c, g)

    assert within(lambda: f()) == (1, 2, 50, 3, 70)
    assert within(lambda: f(9)) == (9, 2, 50, 3, 70)
    assert within(lambda: f(9, 8, 7, c=6, g=5)) == (9, 8, 7, 6, 5)
    assert within(lambda: f(b=0)) == (1, 0, 50, 3, 70)
    assert within(lambda: f(None)) == (None, 2, 50, 3, 70)


def test_positional_only_var_arguments_and_keywords_keep_their_meaning(ex, within):
    names = {"ex": ex}
    exec(
        "@ex.capture\ndef f(a, b, /, c, *args, d, **kw): return (a, b, c, args, d['x'], kw)\n"
        "@ex.capture\ndef g(a, /, b=5): return (a, b)",
        names,
    )
    f, g = names["f"], names["g"]
    assert within(lambda: f()) == (1, 2, 3, (), 10, {})
    assert within(lambda: f(7, 8, 9, 10, a=0, z=1)) == (7, 8, 9, (10,), 10, {"a": 0, "z": 1})
    assert within(lambda: g()) == (1, 2)


def test_prefix_restricts_to_a_dictionary(ex, within):
    @ex.capture(prefix="d")
    def f(x, _config):
        return x, sorted(_config)

    assert within(f) == (10, ["l", "x"])


def test_prefix_that_is_no_dictionary_is_an_error_of_calls_only(ex, within):
    @ex.capture(prefix="a")
    def f(x):
        return x

    assert within(lambda: 5) == 5
    with pytest.raises(MissingConfigError, match="missing .* 'x' .* in the configuration at 'a'"):
        within(f)


def test_methods_static_and_class_methods(ex, within):
    class C:
        @ex.capture
        def method(self, a):
            return (type(self).__name__, a)

        @staticmethod
        @ex.capture
        def static(a):
            return a

        @ex.capture
        @staticmethod
        def static_below(a):
            return a

        @classmethod
        @ex.capture
        def class_(cls, b):
            return (cls.__name__, b)

        @ex.capture
        @classmethod
        def class_below(cls, b):
            return (cls.__name__, b)

    assert within(lambda: C().method()) == ("C", 1)
    assert within(lambda: (C.static(), C.static_below(), C().static())) == (1, 1, 1)
    assert within(lambda: (C.class_(), C.class_below())) == (("C", 2), ("C", 2))


def test_generators_and_coroutines(ex, within):
    @ex.capture
    def generator(a):
        yield a
        yield a + 1

    @ex.capture
    async def coroutine(b):
        await asyncio.sleep(0)
        return b

    assert within(lambda: list(generator())) == [1, 2]
    assert within(lambda: asyncio.run(coroutine())) == 2


def test_signature_name_doc_and_hints_survive(ex):
    @ex.capture
    def f(a: int, b: "str" = "x") -> float:
        """Doc."""

    assert f.__name__ == "f" and f.__doc__ == "Doc." and f.__wrapped__
    assert str(inspect.signature(f)).startswith("(a: int, b:")
    assert typing.get_type_hints(f) == {"a": int, "b": str, "return": float}


def test_recursion_and_threads(ex, within):
    @ex.capture
    def f(n, a):
        return a + f(n - 1) if n else 0

    def in_threads():
        results = []
        threads = [threading.Thread(target=lambda: results.append(f(10))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    assert within(lambda: f(5)) == 5
    assert within(in_threads) == [10] * 8


@pytest.mark.parametrize(
    "call, kind, message",
    [
        ("f(missing_one=1)", MissingConfigError,
         "f() missing 1 required argument: 'missing_two' "
         "(neither passed nor found in the configuration)"),
        ("f()", MissingConfigError,
         "f() missing 2 required arguments: 'missing_one', 'missing_two' "
         "(neither passed nor found in the configuration)"),
        ("f(1, 2, 3, unknown=5)", SignatureError, "unexpected keyword argument 'unknown'"),
        ("f(1, 2, 3, 4)", SignatureError, "f() takes 3 positional arguments but 4 were given"),
        ("f(1, 2, 3, a=1)", SignatureError, "f() got multiple values for argument 'a'"),
    ],
)  # fmt: skip
def test_wrong_calls_are_type_errors_that_name_the_function(ex, within, call, kind, message):
    names = {"ex": ex}
    exec("@ex.capture\ndef f(a, missing_one, missing_two): return a", names)
    with pytest.raises(kind) as caught:
        within(lambda: eval(call, names))
    assert isinstance(caught.value, TypeError)
    assert message in str(caught.value)


def test_type_error_from_the_body_is_left_alone(ex, within):
    @ex.capture
    def f(a):
        return a + "text"

    with pytest.raises(TypeError, match="unsupported operand") as caught:
        within(f)
    assert type(caught.value) is TypeError


def test_special_parameters(ex, within):
    @ex.capture
    def f(_config, _run, _log, _seed, _rnd):
        return _config["a"], _run is ex.current_run, _log.name, type(_seed), hasattr(_rnd, "random")

    assert within(f) == (1, True, "exp.f", int, True)


def test_seeds_depend_on_root_seed_function_and_call_alone(ex, within):
    @ex.capture
    def one(_seed):
        return _seed

    @ex.capture
    def two(_seed, _rnd):
        return (_seed, _rnd.random())

    first = within(lambda: [one(), one(), two(), two()])
    second = within(lambda: [two(), one(), one(), one(), two()])
    assert first[:2] == second[1:3] and first[2:] == [second[0], second[4]]
    assert len({*first[:2], first[2][0], first[3][0]}) == 4


def test_rnd_is_a_numpy_generator_once_numpy_is_imported(ex, within):
    numpy = pytest.importorskip("numpy", reason="pip install numpy")

    @ex.capture
    def f(_rnd):
        return _rnd

    assert isinstance(within(f), numpy.random.Generator)


def test_random_is_seeded_before_the_main_function(ex, within):
    assert within(random.random) == within(random.random)


WRITES = [
    "d['x'] = 1", "d['l'].append(1)", "d['l'][1]['y'] = 0", "d |= {'x': 1}", "d.update(x=1)",
    "d['l'] += [1]", "d['l'] *= 2", "d.pop('x')", "d.clear()", "d.setdefault('q', 1)",
    "del d['x']", "d['l'].sort()", "d['l'][0] = 5", "d.popitem()", "d['l'].__iadd__([1])",
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_configuration_is_read_only(ex, within, write):
    @ex.capture
    def f(d):
        names = {"d": d}
        exec(write, names)

    with pytest.raises(ConfigError, match="read-only.*copy.deepcopy"):
        within(f)
    assert ex.current_run.config["d"] == {"x": 10, "l": [1, {"y": 2}]}


def test_read_only_containers_are_dicts_and_lists(ex, within):
    @ex.capture
    def f(d, _config):
        assert isinstance(d, dict) and isinstance(d["l"], list)
        assert d == {"x": 10, "l": [1, {"y": 2}]}
        assert json.dumps(d) == json.dumps(dict(d))
        for make in (copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))):
            other = make(d)
            assert other == d and type(other) is dict and type(other["l"][1]) is dict
            other["l"][1]["y"] = 5
        other = copy.copy(d)
        other["x"] = 0
        assert {**d, "x": 3}["x"] == 3 and d.copy() == d and (d | {"q": 1})["q"] == 1
        return d["l"][1]["y"]

    assert within(f) == 2


def test_read_only_can_be_switched_off(ex, within):
    @ex.capture
    def f(d):
        d["x"] = 11
        return d

    minisacred.SETTINGS.CONFIG.READ_ONLY_CONFIG = False
    try:
        assert within(f)["x"] == 11
    finally:
        minisacred.SETTINGS.CONFIG.READ_ONLY_CONFIG = True


def test_function_captured_during_a_run_is_filled(ex, within):
    def main():
        @ex.capture
        def late(a):
            return a

        return late()

    assert within(main) == 1


def test_ingredient_functions_see_their_entries_and_their_ingredients_by_name(ex):
    paths = Ingredient("data.paths", base_dir=".")
    paths.add_config(root="/")
    data = Ingredient("data", ingredients=[paths], base_dir=".")
    data.add_config(n=5)

    @data.capture
    def load(n, paths, _config):
        return n, paths["root"], _config["n"]

    @paths.capture
    def root(root):
        return root

    ex.ingredients.append(data)
    ex.main(lambda data: (load(), root(), data["n"]))
    assert ex.run(config_updates={"data.n": 6}).result == ((6, "/", 6), "/", 6)


def test_call_outside_of_a_run_names_what_is_missing(ex):
    @ex.capture
    def f(a):
        return a

    assert f(3) == 3
    with pytest.raises(MissingConfigError, match="'a'"):
        f()


def test_one_frame_only_between_caller_and_body(ex, within):
    @ex.capture
    def f(a):
        return [frame.function for frame in inspect.stack()[:3]]

    def caller():
        return f()

    assert within(caller) == ["f", "captured", "caller"]


def test_seeds_after_variable_arguments_are_filled(ex, within):
    @ex.capture
    def f(a, *rest, _rnd, _seed):
        return a, rest, _seed

    a, rest, seed = within(lambda: f(1, 2, 3))
    assert (a, rest) == (1, (2, 3)) and isinstance(seed, int)


@pytest.mark.parametrize("call", ["f(0)", "f(_seed=0)"])
def test_the_generator_is_seeded_with_a_seed_that_is_passed(ex, within, call):
    @ex.capture
    def f(_seed, _rnd):
        return float(_rnd.random())

    first, second = within(lambda: [eval(call, {"f": f}) for _ in range(2)])
    assert first == second


def test_positional_parameters_are_filled_after_one_with_a_default(ex, within):
    @ex.capture
    def f(nope=5, a=None, /):
        return nope, a

    assert within(lambda: f()) == (5, 1)


def test_changes_of_a_configuration_that_is_not_read_only_reach_functions(ex):
    ex.add_config(lr=0.1, opt={"name": "adam"})

    @ex.capture
    def train(lr, device):
        return lr, device

    @ex.capture(prefix="opt")
    def optimizer(name):
        return name

    @ex.main
    def main(_config):
        _config["lr"], _config["device"] = 0.5, "cpu"
        _config["opt"]["name"] = "sgd"
        return [train(), train(1), optimizer()]

    SETTINGS.CONFIG.READ_ONLY_CONFIG = False
    try:
        assert ex.run().result == [(0.5, "cpu"), (1, "cpu"), "sgd"]
    finally:
        SETTINGS.CONFIG.READ_ONLY_CONFIG = True


def test_missing_parameter_that_a_scope_assigns_says_why_it_is_no_entry(ex):
    @ex.config
    def config():
        names = {"a", "b"}

    @ex.main
    def main(names):
        pass

    with pytest.raises(MissingConfigError, match="'names' is a set in its scope, and no entry"):
        ex.run()


def test_class_that_inherits_its_init_stays_a_class(ex):
    class Base:
        def __init__(self, width):
            self.width = width

    @ex.capture
    class Model(Base):
        KIND = "net"

    class Other(Base):
        pass

    ex.add_config(width=3)
    ex.main(lambda: (Model().width, Model.KIND, isinstance(Model(), Base)))
    assert ex.run().result == (3, "net", True)
    with pytest.raises(TypeError):
        Other()


def test_functions_whose_attributes_were_replaced_see_the_current_run(ex):
    """IPython's autoreload gives an old function the attributes of the new one."""
    ex.add_config(lr=0.5)

    def make():
        @ex.capture
        def lr_of(lr):
            return lr

        return lr_of

    old, new = make(), make()
    ex.main(lambda: old())
    assert ex.run().result == 0.5
    old.__dict__ = new.__dict__
    assert ex.run(config_updates={"lr": 3.0}).result == 3.0
