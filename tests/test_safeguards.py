"""What keeps the module small, and what it promises whoever vendors it."""

import ast
import inspect
import io
import shutil
import statistics
import subprocess
import sys
import tokenize

import pytest
from helpers import ROOT, environment

import minisacred

MODULE = ROOT / "minisacred.py"
SOURCE = MODULE.read_text(encoding="utf-8")
TREE = ast.parse(SOURCE)

#: The limits of minisacred.py.
LINES = 4_385
TOKENS = 29_449

LAYOUT = set(
    map(tokenize.__dict__.get, "COMMENT NL NEWLINE INDENT DEDENT ENCODING ENDMARKER".split())
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (ast.Module, ast.ClassDef, *FUNCTIONS)


def nodes(*kinds):
    return [node for node in ast.walk(TREE) if isinstance(node, kinds)]


def lengths(*kinds):
    return {node.name: node.end_lineno - node.lineno + 1 for node in nodes(*kinds)}


def count_tokens():
    """Count tokens without comments, docstrings, line ends and indentation."""
    docs = set()
    for node in nodes(*DOCUMENTED):
        if ast.get_docstring(node, clean=False) is not None:
            docs.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    tokens = tokenize.generate_tokens(io.StringIO(SOURCE).readline)
    return sum(t.type not in LAYOUT and t.start[0] not in docs for t in tokens)


def test_module_has_no_more_lines_than_the_limit():
    assert len(SOURCE.splitlines()) <= LINES


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="from Python 3.12 on an f-string is several tokens"
)
def test_module_has_no_more_tokens_than_the_limit():
    assert count_tokens() <= TOKENS


def test_functions_and_classes_are_short():
    functions = [node.end_lineno - node.lineno + 1 for node in nodes(*FUNCTIONS)]
    assert statistics.median(functions) <= 8
    assert {name: n for name, n in lengths(*FUNCTIONS).items() if n > 60} == {}
    assert {name: n for name, n in lengths(ast.ClassDef).items() if n > 400} == {}


def test_tests_have_no_more_lines_than_the_limit():
    paths = list((ROOT / "tests").glob("*.py"))
    assert sum(len(path.read_text("utf-8").splitlines()) for path in paths) <= 5_500


def test_top_level_names_that_are_not_public_begin_with_an_underscore():
    defined = {node.name for node in TREE.body if isinstance(node, (ast.ClassDef, *FUNCTIONS))}
    public = {name for name in defined if not name.startswith("_")}
    kept = {"ConfigScope", "ConfigSummary", "QueuedMongoObserver"}  # of Sacred, given to users
    assert public - set(minisacred.__all__) <= kept


@pytest.mark.parametrize("name", sorted({*minisacred.__all__} - {"SETTINGS", "__version__"}))
def test_public_name_is_documented(name):
    thing = getattr(minisacred, name)
    assert (thing.__doc__ or "").strip()
    if inspect.isclass(thing) and issubclass(thing, (minisacred.Ingredient, minisacred.Run)):
        members = [m for n, m in vars(thing).items() if not n.startswith("_") and callable(m)]
        assert [member.__name__ for member in members if not member.__doc__] == []


IMPORT = """
import logging, os, signal, sys, threading
state = lambda: [
    [signal.getsignal(number) for number in (1, 2, 15)], sys.stdout, sys.excepthook, os.getcwd(),
    threading.active_count(), logging.root.handlers[:], logging.root.level, dict(os.environ),
]
before, known = state(), set(sys.modules)
import minisacred
assert state() == before
new = {name.partition(".")[0] for name in set(sys.modules) - known} - {"minisacred"}
files = {name: getattr(sys.modules.get(name), "__file__", "") or "" for name in new}
print([name for name, file in files.items() if "site-packages" in file or "tests" in file])
print(sorted(new & {"numpy", "torch", "pymongo", "yaml", "subprocess", "asyncio"}))
"""


def test_importing_has_no_side_effect_and_pulls_in_nothing_from_elsewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=tmp_path, env=environment(), text=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "[]\n[]\n" and done.stderr == "" and list(tmp_path.iterdir()) == []


def test_imports_are_of_the_standard_library_and_two_optional_packages():
    if sys.version_info < (3, 10):
        pytest.skip("Python 3.10 was the first to know the names of its library")
    names = {alias.name.partition(".")[0] for node in nodes(ast.Import) for alias in node.names}
    names |= {(node.module or "").partition(".")[0] for node in nodes(ast.ImportFrom)}
    optional = {"pymongo", "bson", "gridfs", "yaml", "tomllib", "annotationlib"}
    assert names - sys.stdlib_module_names - optional == set()


SCRIPT = """
from {package} import Experiment, FileStorageObserver
ex = Experiment()
ex.add_config(foo=1)
@ex.automain
def main(foo):
    if foo > 5:
        raise ValueError("too much")
    print("foo", foo)
"""


@pytest.mark.parametrize("package", ["ms", "lib.ms", "project.lib.deep.ms"])
def test_module_works_under_any_name_and_in_any_package(place, package):
    folder = place.path.joinpath(*package.split(".")[:-1])
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(MODULE, folder / "ms.py")
    place.write(SCRIPT.format(package=package), "exp.py", header="", footer="")
    env = {"PYTHONPATH": ""}
    done = place.python("exp.py", "with", "foo=4", "-F", "runs", env=env)
    assert done.out == "foo 4\n", done.err
    names = [name for name, _ in place.run().run["experiment"]["sources"]]
    assert "exp.py" in names and package.replace(".", "/") + ".py" in names
    failed = place.python("exp.py", "with", "foo=9", env=env)
    assert failed.code == 1 and "ValueError: too much" in failed.err and "ms.py" not in failed.err


def test_copy_in_a_package_starts_queued_runs(place):
    (place.path / "lib").mkdir()
    shutil.copy(MODULE, place.path / "lib" / "ms.py")
    place.write(SCRIPT.format(package="lib.ms"), "exp.py", header="", footer="")
    env = {"PYTHONPATH": ""}
    assert place.python("exp.py", "-q", "over", "foo=2,3", "-F", "runs", env=env).code == 0
    assert place.python("lib/ms.py", "work", "runs", env=env).code == 0
    assert place.run("2").run["status"] == "COMPLETED"
