"""Config scopes: functions whose local variables become entries."""

import sys

import pytest

from minisacred import Experiment, InvalidConfigError, MissingConfigError, _ConfigScope

scope = _ConfigScope


def test_scope_yields_its_local_variables():
    @scope
    def config():
        a = 1
        b = [a, 2]
        c = {"d": (a, b)}

    assert config() == {"a": 1, "b": [1, 2], "c": {"d": (1, [1, 2])}}


def test_comprehensions_lambdas_and_nested_functions_see_the_variables():
    @scope
    def config():
        n = 3
        squares = [i * n for i in range(n)]
        total = sum(i * n for i in range(n))
        table = {i: [j * n for j in range(i)] for i in range(2)}
        _f = lambda x: x * n  # noqa: E731
        by_lambda = _f(2)

        def inner():
            return n + 1

        by_function = inner()

    assert config(fixed={"n": 2}) == {
        "n": 2, "squares": [0, 2], "total": 2, "table": {0: [], 1: [0]},
        "by_lambda": 4, "by_function": 3,
    }  # fmt: skip


def test_scope_sees_the_enclosing_function():
    factor = 10

    def make():
        other = 5

        @scope
        def config():
            a = factor * other

        return config

    assert make()() == {"a": 50}


def test_fixed_value_wins_at_plain_annotated_augmented_chained_and_tuple_assignment():
    @scope
    def config():
        a = 1
        plain = a + 1
        b: int = 1
        annotated = b + 1
        c = 1
        c += 5
        augmented = c + 1
        d = e = 1
        chained = (d, e)
        f, (g, *h) = 1, (2, 3, 4)
        unpacked = [f, g, list(h)]

    fixed = {"a": 10, "b": 10, "c": 10, "d": 10, "f": 10, "g": 20, "h": [7]}
    got = config(fixed=fixed)
    assert got["plain"] == got["annotated"] == got["augmented"] == 11
    assert got["chained"] == (10, 1)
    assert got["unpacked"] == [10, 20, [7]]


def test_fixed_value_wins_in_walrus_for_with_and_branches():
    import contextlib

    @scope
    def config():
        doubled = (n := 4) * 2
        in_comprehension = [last := i for i in range(3)]
        seen = []
        for x in range(3):
            seen.append(x)
        with contextlib.nullcontext(5) as w:
            with_value = w + 1
        if True:
            branch = 1
        try:
            tried = 1
        finally:
            after = branch + tried

    got = config(fixed={"n": 7, "x": 9, "w": 50, "branch": 100, "tried": 1000, "last": 3})
    assert got["doubled"] == 14
    assert got["in_comprehension"] == [3, 3, 3]
    assert got["seen"] == [9, 9, 9]
    assert got["with_value"] == 51
    assert got["after"] == 1100


@pytest.mark.skipif(sys.version_info < (3, 10), reason="match statements need Python 3.10")
def test_fixed_value_wins_in_match(place):
    done = place(
        """
        @ex.config
        def config():
            point = {"x": 1, "y": [2, 3, 4]}
            match point:
                case {"x": x, "y": [first, *rest]} if x > 10:
                    got = (x, first, rest)
                case {"x": x}:
                    got = x

        @ex.main
        def main(got):
            print(got)
        """,
        "with", "x=20", "first=5",
    )  # fmt: skip
    assert done.out == "(20, 5, [3, 4])\n"


@pytest.mark.parametrize(
    "body",
    [
        "d = {}; d['x'] = 1",
        "d = {}; d.update(x=1)",
        "d = {}; d.update({'x': 1, 'z': 2})",
        "d = {}; d.setdefault('x', 1)",
        "d = {}; d |= {'x': 1}",
        "d = dict(x=1)",
        "d = {'x': 1}; d = {'x': 2}",
        "d = {'x': 1}; d.pop('x')",
        "d = {'x': 1}; d.clear()",
        "d = {'x': 1}; del d['x']",
        "d = {k: 1 for k in 'x'}",
    ],
)
def test_fixed_nested_key_wins_however_it_is_written(body, tmp_path):
    path = tmp_path / "config_of_d.py"
    path.write_text(f"def config():\n    {body}\n    seen = d['x']\n")
    names = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    got = scope(names["config"])(fixed={"d": {"x": 42}})
    assert got["d"]["x"] == 42
    assert got["seen"] == 42


def test_fixed_keys_two_levels_down_are_merged():
    @scope
    def config():
        d = {"a": {"b": 1, "c": 2}}
        d["a"]["b"] = 5
        d["new"] = {}
        d["new"]["k"] = 1
        d.setdefault("late", {})["k"] = 1
        seen = [d["a"]["b"], d["new"]["k"], d["late"]["k"]]

    got = config(fixed={"d.a.b": 10, "d.new.k": 20, "d.late.k": 30})
    assert got["d"] == {"a": {"b": 10, "c": 2}, "new": {"k": 20}, "late": {"k": 30}}
    assert got["seen"] == [10, 20, 30]


@pytest.mark.parametrize(
    "change",
    ["x.append(9)", "x[0] = 9", "x += [9]", "x.clear()", "x.sort(reverse=True)", "x *= 2",
     "del x[0]", "x.pop()", "x.insert(0, 9)", "x.extend([9])", "x[:] = []", "x = x + [1]"],
)  # fmt: skip
def test_fixed_list_keeps_its_value(change, tmp_path):
    path = tmp_path / "config_of_x.py"
    path.write_text(f"def config():\n    x = [1]\n    {change}\n    n = len(x)\n")
    names = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    assert scope(names["config"])(fixed={"x": [5, 6, 7]}) == {"x": [5, 6, 7], "n": 3}


def test_docstring_and_return_and_import():
    @scope
    def config():
        """Not an entry."""
        import math

        a = math.floor(2.5)
        if a == 2:
            return
        b = 3

    assert config() == {"a": 2}
    assert config.doc == "Not an entry."


def test_return_in_try_keeps_what_finally_assigns():
    @scope
    def config():
        try:
            a = 1
            return
        finally:
            b = 2

    assert config() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "body, problem", [("return 1", "returns a value"), ("yield 1", "has a yield"),
                      ("a = yield", "has a yield"), ("yield from ()", "has a yield")]
)  # fmt: skip
def test_return_value_and_yield_are_errors_with_file_and_line(body, problem, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(f"def config():\n    a = 1\n    {body}\n")
    names = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    with pytest.raises(InvalidConfigError) as caught:
        scope(names["config"])
    assert str(caught.value).startswith(f"{path}:3: config scope 'config' {problem}")
    assert isinstance(caught.value, SyntaxError)


@pytest.mark.parametrize("parameters", ["*entries", "**entries", "a, *b, c"])
def test_parameters_with_stars_are_errors(parameters, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(f"\n\ndef config({parameters}):\n    a = 1\n")
    names = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    with pytest.raises(InvalidConfigError, match=f"{path}:3: .* has a parameter with stars"):
        scope(names["config"])


def test_other_values_and_private_names_are_ignored():
    import os

    @scope
    def config():
        _hidden = 1
        f = len
        module = os
        a_set = {1, 2}
        a = 1

    assert config() == {"a": 1}


def test_container_with_such_a_value_is_left_out_with_a_warning(caplog):
    @scope
    def config():
        bad = {"a": [1, len]}
        good = 1

    assert config() == {"good": 1}
    assert "'bad' is left out" in caplog.text and "bad.a.1" in caplog.text


def test_parameters_are_earlier_entries():
    @scope
    def config(a, d):
        b = a + 1
        d["y"] = 2

    assert config(preset={"a": 1, "d": {"x": 1}}) == {"a": 1, "b": 2, "d": {"x": 1, "y": 2}}


def test_missing_parameter_names_it():
    @scope
    def config(nothing):
        a = nothing

    with pytest.raises(MissingConfigError, match="needs 'nothing'"):
        config()


def test_traceback_shows_the_users_line(place):
    done = place(
        """
        @ex.config
        def config():
            a = 1
            b = a / 0   # here

        @ex.main
        def main():
            pass
        """
    )
    assert done.code == 1
    assert 'exp.py", line 8, in config' in done.err
    assert "b = a / 0   # here" in done.err
    assert "minisacred" not in done.err


def test_scope_without_source_says_what_to_do():
    names = {}
    exec("def config():\n    a = 1", names)
    with pytest.raises(InvalidConfigError, match="source .* is not available.*add_config"):
        scope(names["config"])


def test_indented_scopes_decorators_and_multiline_strings():
    class Holder:
        @scope
        @(lambda f: f)
        def config():
            text = """
left margin
  indented"""
            # a comment
            # another one, further left
            b = [1, 2]

    assert Holder.config() == {"text": "\nleft margin\n  indented", "b": [1, 2]}


def test_one_line_scope():
    config = scope(_one_line)
    assert config(fixed={"a": 5}) == {"a": 5, "b": 6}


def _one_line():
    a = 1
    b = a + 1  # noqa: E701, E702


def test_coverage_tools_see_the_users_lines(tmp_path):
    lines = []

    @scope
    def config():
        a = 1
        b = 2

    def trace(frame, event, arg):
        if frame.f_code.co_name == "config" and event == "line":
            lines.append(frame.f_lineno)
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        config()
    finally:
        sys.settrace(old)
    first = config.function.__code__.co_firstlineno
    assert set(lines) - {first, first + 1} == {first + 2, first + 3}


def test_comments_document_entries():
    @scope
    def config():
        # above
        # in two lines
        a = 1
        b = 2  # behind
        c = 3  # noqa
        d = {"x": 1}  # after the end

    assert config.docs() == {"a": "above in two lines", "b": "behind", "d": "after the end"}


def test_numpy_and_paths_become_plain(place):
    import pathlib

    @scope
    def config():
        p = pathlib.Path("a") / "b"
        ps = [pathlib.Path("c")]

    assert config() == {"p": "a/b", "ps": ["c"]}


def test_scope_with_future_annotations_and_closure_over_class(place):
    done = place(
        """
        def make(n):
            @ex.config
            def config():
                x: Undefined = n
        make(3)

        @ex.main
        def main(x):
            print(x)
        """,
        script={"header": "from __future__ import annotations\nfrom minisacred import *\n"
                "ex = Experiment('e')\n"},
    )  # fmt: skip
    assert done.out == "3\n"


def test_config_returns_a_callable_scope(ex: Experiment):
    @ex.config
    def my_config():
        a = 1

    assert my_config() == {"a": 1}


def test_names_that_a_scope_imports_can_be_fixed(place):
    done = place(
        """
        @ex.config
        def cfg():
            from math import pi
            area = pi * 2

        @ex.main
        def main(pi, area):
            print(pi, area)
        """,
        "with", "pi=3",
    )  # fmt: skip
    assert done.out == "3.0 6.0\n", done.err


def test_a_dictionary_with_keys_that_cannot_be_stored_is_left_out(place):
    done = place(
        """
        @ex.config
        def cfg():
            table = {(1, 2): 3}
            a = 1

        @ex.main
        def main(_config):
            print(sorted(_config))
        """
    )
    assert done.out == "['a', 'seed']\n", done.err
    assert "'table' is left out" in done.err


def test_a_default_of_a_parameter_is_the_same_in_each_run(place):
    done = place(
        """
        @ex.config
        def cfg(seen=[]):
            seen.append(1)
            n = len(seen)

        @ex.main
        def main(n):
            print(n)

        ex.run()
        ex.run()
        """,
        script={"footer": ""},
    )
    assert done.out == "1\n1\n", done.err


def test_a_warning_in_the_source_of_a_scope_is_given_once(place):
    script = """
        @ex.config
        def cfg():
            a = 1
            if a is 1:
                b = 2

        @ex.main
        def main(b):
            print(b)
        """
    done = place(script)
    assert done.out == "2\n" and done.err.count("SyntaxWarning") == 1, done.err


def test_expressions_that_python_compiles_are_no_problem_however_deep(ex, place):
    body = {"x": "+".join(["1"] * 600), "y": "'a'" + ".replace('a', 'a')" * 250}
    lines = "".join(f"    {name} = {value}\n" for name, value in body.items())
    source = f"@ex.config\ndef config():\n{lines}\n@ex.main\ndef main(x, y):\n    print(x, y)\n"
    assert place(source, "with", "y=b").out.splitlines()[-1] == "600 b"


def test_scopes_of_a_zip_application_are_found(place):
    import zipapp

    place.write(
        """
        @ex.config
        def config():
            a = 1

        @ex.main
        def main(a):
            print("a is", a)
        """,
        "app/__main__.py",
        header="from minisacred import *\nex = Experiment('exp', interactive=True)\n",
    )
    zipapp.create_archive(place.path / "app", place.path / "app.pyz")
    result = place.python("app.pyz", "with", "a=2")
    assert result.out.splitlines()[-1] == "a is 2", result.err


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12")
def test_scope_with_type_parameters_is_a_scope(place):
    source = "@ex.config\ndef config[T]():\n    a = 1\n\n@ex.main\ndef main(a):\n    print(a)\n"
    assert place(source, "with", "a=2").out.splitlines()[-1] == "2"


def test_comment_inside_a_value_of_several_lines_is_not_its_documentation(ex):
    @ex.config
    def config():
        e = {
            "k": 1,  # of k
            "l": 2,
        }
        f = [  # of f
            1
        ]

    assert config.docs() == {"f": "of f"}
