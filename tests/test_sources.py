"""Where entries come from: scopes, dictionaries, files; and what documents them."""

import contextlib
import os
import sys
import textwrap

import pytest

from minisacred import SETTINGS, ConfigError, InvalidConfigError, MissingConfigError, SacredError


@pytest.fixture
def resolve(ex):
    """Return a function: the entries of a run with these updates."""

    def resolve(**updates):
        ex.main(lambda: None)
        config = ex.run(config_updates=updates, options={"force": True}).config
        return {name: value for name, value in config.items() if name != "seed"}

    return resolve


@pytest.fixture
def scope_of(tmp_path):
    """Return a function: a config function that has these lines, in a file of its own."""

    def scope_of(body):
        path = tmp_path / "scope.py"
        path.write_text("\n\ndef config():\n" + textwrap.indent(body, "    ") + "\n")
        names = {"contextlib": contextlib}
        exec(compile(path.read_text(), str(path), "exec"), names)
        return names["config"]

    return scope_of


# -- what a scope yields -----------------------------------------------------------------


def test_scope_that_is_called_yields_its_local_variables_less_private_ones(ex):
    @ex.config
    def config():
        _hidden = 1
        a = _hidden
        b = [a, 2]
        c = {"d": {"e": b}}

    assert config() == {"a": 1, "b": [1, 2], "c": {"d": {"e": [1, 2]}}}


OTHERS = ["len", "lambda: 1", "contextlib", "int", "contextlib.sys.__stdout__", "{1}", "object()"]


@pytest.mark.parametrize("value", OTHERS)
def test_value_of_another_kind_is_ignored_in_a_scope(ex, scope_of, value, caplog):
    config = ex.config(scope_of(f"other = {value}\na = 1"))
    assert config() == {"a": 1} and not caplog.text


@pytest.mark.parametrize(
    "value, place",
    [("{'a': [1, len]}", "bad.a.1"), ("[{'a': {1}}]", "bad.0.a"), ("(object(),)", "bad.0")],
)
def test_container_with_such_a_value_is_left_out_whole(ex, scope_of, value, place, caplog):
    config = ex.config(scope_of(f"bad = {value}\ngood = 1"))
    assert config() == {"good": 1}
    assert "'bad' is left out" in caplog.text and place in caplog.text


# -- a scope reads as the function it is -------------------------------------------------


def test_comprehensions_lambdas_and_nested_functions_see_the_variables(ex, resolve):
    @ex.config
    def config():
        n = 3
        squares = [i * n for i in range(n)]
        total = sum(i * n for i in range(n))
        table = {i: [j * n for j in range(i)] for i in range(2)}
        _f = lambda x: x * n
        by_lambda = _f(2)

        def inner():
            return n + 1

        by_function = inner()

    assert resolve(n=2) == {
        "n": 2, "squares": [0, 2], "total": 2, "table": {0: [], 1: [0]},
        "by_lambda": 4, "by_function": 3,
    }  # fmt: skip


def test_scope_sees_the_variables_of_its_enclosing_function(ex):
    factor = 10

    def make(other):
        @ex.config
        def config():
            a = factor * other

        return config

    assert make(5)() == {"a": 50}


def test_import_works_inside_a_scope(ex):
    @ex.config
    def config():
        import math
        from os import path as _path

        a = math.floor(2.5)
        b = _path.join("a", "b")

    assert config() == {"a": 2, "b": os.path.join("a", "b")}


def test_bare_return_ends_a_scope_early(ex):
    @ex.config
    def config():
        a = 1
        if a:
            return
        b = 2

    assert config() == {"a": 1}


@pytest.mark.parametrize("line", ["return 1", "yield", "yield 1", "a = yield", "yield from ()"])
def test_return_value_and_yield_are_errors_that_name_file_and_line(ex, scope_of, tmp_path, line):
    function = scope_of(f"a = 1\nif a:\n    {line}")
    with pytest.raises(InvalidConfigError) as caught:
        ex.config(function)
    assert f"{tmp_path / 'scope.py'}:6" in str(caught.value)


def test_tracebacks_and_breakpoints_show_the_users_file_and_line(ex, scope_of, tmp_path):
    function, seen = ex.config(scope_of("a = 1\nb = [a / 0 for i in range(2)]")), []

    def trace(frame, event, arg):
        if event == "line" and frame.f_code.co_filename == str(tmp_path / "scope.py"):
            seen.append(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(ZeroDivisionError) as caught:
            function()
    finally:
        sys.settrace(before)
    last = caught.traceback[-1]
    assert (str(last.path), last.lineno + 1) == (str(tmp_path / "scope.py"), 5)
    assert {4, 5} <= set(seen)


ENDS = [
    "a = '''x\n'''\nb = 2",
    "a = 'x\\\n'\nb = 2",
    "a = 'x\\n'\n# a comment\n    \nb = 2",
    "a = ['x\\n',\n][0]; b = 2",
]


@pytest.mark.parametrize("body", ENDS)
def test_scope_ends_where_its_function_does(ex, tmp_path, body):
    path = tmp_path / "scope.py"
    head, *lines = body.split("\n")
    inner = [line if line[:1] in "#']" or not line.strip() else f"        {line}" for line in lines]
    text = ["if True:", "    def config():", f"        {head}", *inner, "else:", "    c = 3"]
    path.write_text("\n".join(text))
    names = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    config = ex.config(names["config"])()
    assert config["b"] == 2 and config["a"].strip("\n") == "x"


def test_scope_without_source_says_what_to_do(ex):
    names = {}
    exec("def config():\n    a = 1", names)
    with pytest.raises(SacredError, match=r"source.*add_config"):
        ex.config(names["config"])


# -- parameters --------------------------------------------------------------------------


def test_parameters_are_entries_made_before(ex, resolve):
    ex.add_config(a=1, d={"x": 1})

    @ex.config
    def config(a, d):
        b = a + d["x"]
        d["y"] = 2
        c = d["y"]

    assert resolve(a=5) == {"a": 5, "b": 6, "c": 2, "d": {"x": 1, "y": 2}}
    assert resolve(**{"d.y": 7}) == {"a": 1, "b": 2, "c": 7, "d": {"x": 1, "y": 7}}


def test_missing_parameter_is_an_error_that_names_it(ex, resolve):
    @ex.config
    def config(absent):
        a = absent

    with pytest.raises(MissingConfigError, match="'absent'"):
        resolve()


# -- fixed values win --------------------------------------------------------------------

BINDINGS = [
    "x = 1", "x: unknown = 1", "x = 1\nx += 5", "y = x = 1", "y, (x, *z) = 1, (2, 3)", "y, *x = 1, 2, 3",
    "y = (x := 4) * 2", "y = [x := i for i in range(3)]", "f = lambda a=(x := 4): a",
    "for x in range(3): y = x", "with contextlib.nullcontext(5) as x: pass",
    "from math import pi as x", "if True:\n    x = 1", "try:\n    x = 1\nfinally:\n    y = x",
]  # fmt: skip


@pytest.mark.parametrize("body", BINDINGS)
def test_update_wins_wherever_the_scope_binds_the_entry(ex, scope_of, resolve, body):
    ex.config(scope_of(f"{body}\nseen = [x]"))
    got = resolve(x=100)
    assert got["x"] == 100 and got["seen"] == [100]


@pytest.mark.skipif(sys.version_info < (3, 10), reason="match statements need Python 3.10")
@pytest.mark.parametrize("case", ["{'k': x}", "{**x}", "{'k': 1 as x}"])
def test_update_wins_where_match_binds_the_entry(ex, scope_of, resolve, case):
    ex.config(scope_of(f"match {{'k': 1}}:\n    case {case}:\n        seen = x"))
    assert resolve(x=100)["seen"] == 100


IN_PLACE = [
    "d = {}\nd['x'] = 1", "d = {}\nd.update(x=1, z=2)", "d = {}\nd.setdefault('x', 1)",
    "d = {}\nd |= {'x': 1}", "d = {'x': 1}\nd = {'x': 2}", "d = {'x': 1}\nd.pop('x')",
    "d = {'x': 1}\nd.clear()", "d = {'x': 1}\ndel d['x']", "d = {k: 1 for k in 'x'}",
    "d = {}\nfill = lambda d: d.update(x=1)\nfill(d)", "d = {}\nfor d['x'] in range(3): pass",
]  # fmt: skip


@pytest.mark.parametrize("body", IN_PLACE)
def test_fixed_key_of_a_dictionary_wins_however_the_scope_writes_it(ex, scope_of, resolve, body):
    ex.config(scope_of(f"{body}\nseen = d['x']"))
    got = resolve(**{"d.x": 42})
    assert got["d"]["x"] == 42 and got["seen"] == 42


def test_fixed_keys_leave_what_the_scope_took_them_into_alone(ex, resolve):
    constant = {"a": {"b": 1}}

    @ex.config
    def config():
        x = constant

    assert resolve(**{"x.a.b": 2})["x"] == {"a": {"b": 2}} and constant == {"a": {"b": 1}}


def test_fixed_keys_are_merged_key_by_key_at_any_depth(ex, resolve):
    @ex.config
    def config():
        d = {"a": {"b": 1, "c": 2}}
        d["a"]["b"] = 5
        d["new"] = {}
        d["new"]["k"] = 1
        seen = [d["a"]["b"], d["new"]["k"]]

    got = resolve(**{"d.a.b": 10, "d.new.k": 20})
    assert got == {"d": {"a": {"b": 10, "c": 2}, "new": {"k": 20}}, "seen": [10, 20]}


@pytest.mark.parametrize(
    "change", ["x.append(9)", "x[0] = 9", "x += [9]", "x.sort()", "x *= 2", "x[:] = []", "x = [0]"]
)
def test_fixed_list_keeps_its_value_whatever_the_scope_does_to_it(ex, scope_of, resolve, change):
    ex.config(scope_of(f"x = [1]\n{change}\nn = len(x)"))
    assert resolve(x=[7, 6, 5]) == {"x": [7, 6, 5], "n": 3}


@pytest.mark.parametrize("change", ["x[1] = 9", "x.reverse()", "x = [5, 6, 7]", "fill(x)"])
def test_fixed_element_of_a_list_wins_by_its_number(ex, scope_of, resolve, change):
    fill = "_fill = fill = lambda x: x.__setitem__(1, 9)"
    ex.config(scope_of(f"{fill}\nx = [1, 2, 3]\n{change}\nseen = x[1]"))
    got = resolve(**{"x.1": 100})
    assert got["x"][1] == got["seen"] == 100 and len(got["x"]) == 3


# -- dictionaries and files --------------------------------------------------------------


def test_sources_apply_in_the_order_added_and_dictionaries_are_merged(ex, resolve, tmp_path):
    (tmp_path / "c.json").write_text('{"c": 3, "d": {"z": {"p": 3}}}')

    @ex.config
    def first():
        a = 1
        d = {"x": 1, "z": {"q": 1}}

    ex.add_config({"a": 2, "d": {"y": 2}, True: 6})  # as YAML reads `on: 6`
    ex.add_config(b="keyword", e=1)
    ex.add_config(str(tmp_path / "c.json"))

    @ex.config
    def last(a, d):
        e = a + d["z"]["p"]

    assert resolve() == {
        "a": 2, "b": "keyword", "c": 3, "d": {"x": 1, "y": 2, "z": {"p": 3, "q": 1}}, "e": 5, "true": 6,
    }  # fmt: skip


def test_toml_file_is_a_source_from_python_3_11_on(ex, resolve, tmp_path):
    (tmp_path / "c.toml").write_text("a = 7\n[d]\nx = [1, 2.5]\n")
    if sys.version_info < (3, 11):
        with pytest.raises(ConfigError, match=r"3\.11"):
            ex.add_config(tmp_path / "c.toml")
    else:
        ex.add_config(tmp_path / "c.toml")
        assert resolve() == {"a": 7, "d": {"x": [1, 2.5]}}


def test_yaml_file_without_pyyaml_is_an_error_that_names_the_install(ex, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "c.yaml").write_text("a: 7")
    with pytest.raises(ConfigError, match="pip install PyYAML"):
        ex.add_config(tmp_path / "c.yaml")


def test_pickle_file_is_refused_with_the_reason(ex, tmp_path):
    (tmp_path / "c.pickle").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"c\.pickle.*runs the code"):
        ex.add_config(tmp_path / "c.pickle")


# -- documentation -----------------------------------------------------------------------


def printed(ex, capsys):
    """Return what `print_config` prints, line by line."""
    capsys.readouterr()
    ex.run("print_config")
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_docstring_and_comments_document_entries_in_print_config(ex, capsys):
    @ex.config
    def config():
        """What it is about."""
        # above
        a = 1
        b = 2  # at the end of the line
        # on the lines
        # above
        c = 3

        d = 4

    lines = printed(ex, capsys)
    assert "What it is about." in "\n".join(lines) and "d = 4" in lines
    assert {"a = 1  # above", "b = 2  # at the end of the line"} <= set(lines)
    assert "c = 3  # on the lines above" in lines


def test_ignored_comments_and_what_is_no_comment_document_nothing(ex, capsys, monkeypatch):
    monkeypatch.setitem(SETTINGS.CONFIG, "IGNORED_COMMENTS", ["^noqa", "^TODO"])

    @ex.config
    def config():
        a = 1  # noqa
        b = 2  # TODO: more
        c = 3  # of use
        d = "no # comment"

    lines = set(printed(ex, capsys))
    assert {"a = 1", "b = 2", "c = 3  # of use", "d = 'no # comment'"} <= lines
