"""Ingredients: what they register, under which names, and how experiments use them."""

import pytest
from helpers import RunFiles

from minisacred import (
    CircularDependencyError,
    ConfigAddedError,
    Experiment,
    FileStorageObserver,
    Ingredient,
)


def make_data(path="data", **options):
    data = Ingredient(path, **options)

    @data.config
    def config():
        size = 3
        twice = 2 * size

    @data.named_config
    def large():
        """A lot."""
        size = 1000

    @data.capture
    def load(size, twice):
        return [size, twice]

    @data.command
    def check(size):
        """Look at the data."""
        return size

    data.load = load
    return data


def experiment(*ingredients, name="exp"):
    ex = Experiment(name, ingredients=ingredients, save_git_info=False)
    ex.main(lambda: [part.load() for part in ingredients])
    return ex


def test_entries_of_an_ingredient_are_below_its_path():
    run = experiment(make_data()).run(config_updates={"data.size": 4})
    assert (run.config["data"]["size"], run.config["data"]["twice"]) == (4, 8)
    assert run.result == [[4, 8]]


def test_ingredient_is_a_parameter_of_scopes_and_functions_of_who_uses_it():
    user = Ingredient("user", ingredients=[make_data()])

    @user.config
    def config(data):
        total = data["size"] + 1

    @user.capture
    def sizes(total, data, other=5):
        return total, data["size"], other

    ex = experiment(user, make_data("other"))
    ex.main(lambda: sizes())
    assert ex.run().result == (4, 3, 5)


@pytest.mark.parametrize("path", ["user.data.size", "user._log"])
def test_parameters_that_no_entry_fills_are_no_known_entries(path):
    user = Ingredient("user", ingredients=[make_data()])

    @user.config
    def config(data, _log):
        double = data["size"] * 2

    with pytest.raises(ConfigAddedError, match=path):
        experiment(user).run(config_updates={path: 3})


def test_named_config_gets_the_entries_of_an_ingredient_as_known_so_far():
    ex = experiment(make_data())
    ex.add_config(total=0)

    @ex.named_config
    def more(data):
        total = data.get("size", 0) + 1

    run = ex.run(config_updates={"data.size": 4}, named_configs=["more"])
    assert run.config["total"] == 5


def test_named_config_of_an_ingredient_is_asked_for_by_its_path():
    run = experiment(make_data()).run(named_configs=["data.large"])
    assert run.result == [[1000, 2000]]


def test_command_of_an_ingredient_is_recorded_by_its_full_name(tmp_path):
    ex = experiment(make_data())
    ex.observers.append(FileStorageObserver(tmp_path / "runs"))
    assert ex.run("data.check").result == 3
    assert RunFiles(tmp_path / "runs" / "1").run["command"] == "data.check"


def test_experiment_and_ingredient_may_have_the_same_name():
    ex = experiment(make_data("train"), name="train")
    run = ex.run(config_updates={"train.size": 4})
    assert run.result == [[4, 8]] and run.config["train"]["size"] == 4


def test_gathered_names_have_the_path_before_them():
    data = make_data(ingredients=[make_data("files")])
    ex = experiment(data)
    own = "data.check", "files.check"
    assert {name for name, _ in data.gather_commands()} == set(own)
    assert {name for name, _ in data.gather_named_configs()} == {"data.large", "files.large"}
    names = {name for name, _ in ex.gather_commands()}
    assert names >= {*own, "<lambda>", "print_config"}
    assert {name for name, _ in ex.gather_named_configs()} == {"data.large", "files.large"}
    assert dict(ex.gather_commands())["data.check"] in data.captured_functions


def test_ingredients_are_traversed_with_their_depths():
    files = make_data("files")
    data = make_data(ingredients=[files])
    ex = experiment(data)
    assert set(ex.traverse_ingredients()) == {(ex, 0), (data, 1), (files, 2)}


def test_ingredients_that_use_each_other_are_an_error_that_names_them():
    one, two = make_data("one"), make_data("two")
    one.ingredients.append(two)
    two.ingredients.append(one)
    with pytest.raises(CircularDependencyError, match="one.*two"):
        list(one.traverse_ingredients())
    with pytest.raises(CircularDependencyError, match="one.*two"):
        experiment(one).run()


def test_path_is_the_name_and_doc_that_of_the_defining_file():
    assert (make_data("a.b").path, make_data().doc) == ("a.b", __doc__)


def test_hooks_of_ingredients_run_before_those_of_the_experiment():
    data, order = make_data(), []
    ex = experiment(data)
    ex.pre_run_hook(lambda: order.append("experiment"))

    @data.pre_run_hook
    def before(size):
        order.append(size)

    ex.run()
    assert order == [3, "experiment"]


@pytest.mark.parametrize(
    "method", "main command capture config named_config config_hook pre_run_hook post_run_hook "
    "option_hook".split()
)  # fmt: skip
def test_decorators_are_used_bare_and_called(ex, method):
    def function():
        a = 1

    def config_hook(config, command_name, logger):
        return {}

    def option_hook(options):
        pass

    fitting = {"config_hook": config_hook, "option_hook": option_hook}.get(method, function)
    ex.main(lambda: 5)
    made = [getattr(ex, method)(fitting), getattr(ex, method)()(fitting)]
    assert all(callable(one) for one in made)
    assert ex.run("<lambda>").result == 5


def test_sources_and_packages_that_are_added_are_recorded(tmp_path):
    data = make_data()
    (tmp_path / "extra.txt").write_text("x")
    data.add_source_file(tmp_path / "extra.txt")
    data.add_package_dependency("somepackage", "1.2")
    info = experiment(data).get_experiment_info()
    assert "extra.txt" in {name.rpartition("/")[2] for name, _ in info["sources"]}
    assert "somepackage==1.2" in info["dependencies"] and info["name"] == "exp"
