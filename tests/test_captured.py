"""Captured functions: missing parameters come from the configuration."""

import asyncio
import functools
import inspect
import multiprocessing
import random
import sys
import typing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from minisacred import (
    Experiment,
    Ingredient,
    InvalidConfigError,
    MissingConfigError,
    SignatureError,
)


@pytest.fixture
def within(ex):
    """Return a function that calls another one within a run of `ex`, and returns its result."""
    ex.add_config(a=1, b=2, c=3, d={"x": 10, "deep": {"y": 20}}, seed=42)

    def within(action, **updates):
        ex.main(lambda _config: action())
        return ex.run(config_updates=updates).result

    return within


@pytest.mark.parametrize(
    "call, result",
    [("f()", (1, 2, 50, 3, 70)), ("f(9)", (9, 2, 50, 3, 70)), ("f(b=0)", (1, 0, 50, 3, 70)),
     ("f(None)", (None, 2, 50, 3, 70)), ("f(9, 8, 7, c=6, g=5)", (9, 8, 7, 6, 5))],
)  # fmt: skip
def test_passed_arguments_beat_the_configuration_and_that_the_defaults(ex, within, call, result):
    @ex.capture
    def f(a, b=20, e=50, *, c=30, g=70):
        return (a, b, e, c, g)

    assert within(lambda: eval(call, {"f": f})) == result


def test_variable_arguments_and_keywords_keep_their_meaning(ex, within):
    @ex.capture
    def f(a, *args, b, **kw):
        return a, args, b, kw

    assert within(lambda: f()) == (1, (), 2, {})
    assert within(lambda: f(7, 8, 9, z=1)) == (7, (8, 9), 2, {"z": 1})


def test_positional_only_parameters_are_not_filled(ex, within):
    @ex.capture
    def f(a=50, /, b=60):
        return a, b

    assert within(lambda: (f(), f(7))) == ((50, 2), (7, 2))


@pytest.mark.parametrize("prefix, expected", [("d", (10, ["deep", "x"])), ("d.deep", (50, ["y"]))])
def test_prefix_restricts_to_a_dictionary(ex, within, prefix, expected):
    @ex.capture(prefix=prefix)
    def f(_config, x=50):
        return x, sorted(_config)

    assert within(f) == expected


def test_functions_of_an_ingredient_get_its_entries(ex):
    data = Ingredient("data", base_dir=".")
    data.add_config(n=5)

    @data.capture
    def load(n, _config):
        return n, _config["n"]

    ex.ingredients.append(data)
    ex.add_config(n=1)
    ex.main(lambda n, data: (n, data["n"], load()))
    assert ex.run(config_updates={"data.n": 6}).result == (1, 6, (6, 6))


def test_captured_functions_are_listed(ex):
    before = list(ex.captured_functions)

    @ex.capture
    def f():
        pass

    assert ex.captured_functions == [*before, f]


def test_special_parameters_are_those_of_the_run(ex, within):
    @ex.capture
    def f(_config, _run, _log):
        return _config["a"], _run is ex.current_run, _log.name

    assert within(f) == (1, True, "exp.f")


def test_seeds_depend_on_root_seed_function_and_number_of_the_call_alone(ex, within):
    @ex.capture
    def one(_seed):
        return _seed

    @ex.capture
    def two(_seed, _rnd):
        return _seed, _rnd.random()

    first = within(lambda: [one(), one(), two(), two()])
    second = within(lambda: [two(), one(), one(), one(), two()])
    other = within(lambda: [one(), one(), two(), two()], seed=43)
    assert [second[i] for i in (1, 2, 0, 4)] == first
    assert not set(other) & set(first) and first[0] != first[2][0]


@pytest.mark.skipif("numpy" in sys.modules, reason="without numpy only: run it by itself")
def test_rnd_is_a_generator_seeded_with_the_seed(ex, within):
    @ex.capture
    def f(_seed, _rnd):
        return isinstance(_rnd, random.Random), _rnd.random() == random.Random(_seed).random()

    assert within(f) == (True, True)
    assert within(lambda: f(_seed=5)) == (True, True)


def test_methods_static_and_class_methods_can_be_captured(ex, within):
    class C:
        @ex.capture
        def method(self, a):
            return type(self), a

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
        def of_class(cls, b):
            return cls, b

    assert within(lambda: (C().method(), C().method(7))) == ((C, 1), (C, 7))
    assert within(lambda: (C.static(), C.static_below(), C().static())) == (1, 1, 1)
    assert within(lambda: C.of_class()) == (C, 2)


def test_bound_method_can_be_captured(ex, within):
    class C:
        def method(self, a, b=0):
            return type(self), a, b

    bound = ex.capture(C().method)
    assert within(lambda: (bound(), bound(7))) == ((C, 1, 2), (C, 7, 2))


@pytest.mark.parametrize("thing", [len, int, functools.partial(print), object()])
def test_what_is_no_function_of_python_cannot_be_captured(ex, thing):
    with pytest.raises(InvalidConfigError, match="needs a function written in Python"):
        ex.capture(thing)


def test_generators_and_coroutine_functions_can_be_captured(ex, within):
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


def test_signature_name_docstring_and_hints_survive(ex):
    def f(a: int, b: "str" = "x") -> float:
        """Doc."""

    captured = ex.capture(f)
    assert captured.__name__ == "f" and captured.__doc__ == "Doc." and captured.__wrapped__ is f
    assert inspect.signature(captured) == inspect.signature(f)
    assert typing.get_type_hints(captured) == {"a": int, "b": str, "return": float}


def test_recursion_and_threads_work(ex, within):
    @ex.capture
    def f(n, a, _seed):
        return {_seed} | f(n - 1) if n else {a}

    def in_threads():
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda _: f(10), range(50)))

    results = within(in_threads)
    assert all(len(seeds) == 11 and 1 in seeds for seeds in results)
    assert len(set().union(*results)) == 501


@pytest.mark.parametrize(
    "call, kind, named",
    [
        ("f(one=1)", MissingConfigError, ["f()", "missing 1 required", "'two'"]),
        ("f()", MissingConfigError, ["f()", "missing 2 required", "'one'", "'two'"]),
        ("f(1, 2, 3, unknown=5)", SignatureError, ["f()", "unexpected keyword", "'unknown'"]),
        ("f(1, 2, 3, 4)", SignatureError, ["f()", "takes 3 positional arguments but 4"]),
        ("f(1, 2, 3, a=1)", SignatureError, ["f()", "multiple values", "'a'"]),
    ],
)
def test_wrong_call_is_a_type_error_in_pythons_style(ex, within, call, kind, named):
    @ex.capture
    def f(a, one, two):
        pass

    with pytest.raises(kind) as caught:
        within(lambda: eval(call, {"f": f}))
    assert isinstance(caught.value, TypeError)
    assert all(part in str(caught.value) for part in named)


elsewhere = Experiment("elsewhere", save_git_info=False)
elsewhere.add_config(a=1)


@elsewhere.capture
def called_elsewhere(a):
    return a


def call_and_tell():
    try:
        return called_elsewhere()
    except MissingConfigError as error:
        return str(error)


@elsewhere.main
def in_another_process():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call_and_tell).result()


def test_call_outside_of_the_run_says_so():
    """Before it, and during it in another process."""
    assert called_elsewhere(3) == 3
    for told in (call_and_tell(), elsewhere.run().result):
        assert "called_elsewhere()" in told and "'a'" in told and "outside of a run" in told
