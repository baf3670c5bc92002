"""From sources, named configs and updates to one configuration; seeds; what is remarked on."""

import random

import pytest

from minisacred import ConfigAddedError, Ingredient, MissingConfigError, NamedConfigNotFoundError


def run(ex, updates=None, named=(), **options):
    return ex.run(config_updates=updates, named_configs=named, options=options)


def entries(run):
    return {name: value for name, value in run.config.items() if name != "seed"}


def part(path, ingredients=(), /, **config):
    made = Ingredient(path, ingredients=ingredients, base_dir=".", save_git_info=False)
    made.add_config(config or {})
    return made


@pytest.fixture
def simple(ex):
    @ex.config
    def config():
        a = 1
        double = a * 2
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

    ex.main(lambda: None)
    return ex


# -- precedence --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "updates", [{"d": {"y": {"z": 5}}}, {"d.y.z": 5}, {"d": {"y.z": 5}}, {"d.y": {"z": 5}}]
)
def test_updates_may_be_nested_or_dotted_at_any_depth(simple, updates):
    assert run(simple, updates).config["d"] == {"x": 1, "y": {"z": 5}}


def test_named_configs_apply_in_the_order_given(simple):
    assert run(simple, named=["big", "huge"]).config["a"] == 1000
    assert run(simple, named=["huge", "big"]).config["a"] == 100
    assert run(simple, named="big").config["double"] == 200


def test_named_configs_are_functions_dictionaries_and_files(simple, tmp_path):
    (tmp_path / "c.json").write_text('{"d": {"x": 7}}')
    simple.add_named_config("by_dict", {"a": 5})
    simple.add_named_config("by_keyword", rate=0.1)
    named = ["by_dict", "by_keyword", str(tmp_path / "c.json")]
    config = run(simple, named=named).config
    assert (config["a"], config["rate"], config["d"]["x"]) == (5, 0.1, 7)


def test_named_config_wins_over_a_config_hook_and_an_update_over_both(simple):
    @simple.config_hook
    def hook(config, command_name, logger):
        return {"a": 42, "rate": 0.25}

    config = run(simple, {"rate": 0.125}, ["big"]).config
    assert (config["a"], config["rate"]) == (100, 0.125)
    assert run(simple).config["a"] == 42


def test_unknown_named_config_is_an_error_that_names_the_closest(simple):
    with pytest.raises(NamedConfigNotFoundError) as caught:
        run(simple, named=["bigg"])
    assert "'bigg'" in str(caught.value) and "'big'" in str(caught.value)


# -- ingredients -------------------------------------------------------------------------


def test_ingredients_come_before_the_experiment_and_each_with_its_hooks(ex):
    """Each hook notes the whole configuration so far, and changes an entry of its ingredient."""
    seen = []
    paths, data = part("paths", root="/"), part("data", n=2)
    data.ingredients.append(paths)
    ex.ingredients.append(data)

    def add_hook(ingredient, **updates):
        @ingredient.config_hook
        def hook(config, command_name, logger):
            seen.append(sorted(config.keys() - {"seed"}))
            return {**updates, "command": command_name}

    add_hook(paths, root="/hooked")
    add_hook(data, n=3)
    add_hook(ex, a=1)

    @data.config
    def data_config(paths):
        file = paths["root"] + "/file"

    @ex.config
    def config(data):
        m = data["n"] + 1

    @ex.main
    def train():
        pass

    got = entries(run(ex))
    assert got == {
        "paths": {"root": "/hooked", "command": "train"},
        "data": {"n": 3, "file": "/hooked/file", "command": "train"},
        "m": 4, "a": 1, "command": "train",
    }  # fmt: skip
    assert seen == [["paths"], ["data", "paths"], ["data", "m", "paths"]]


def test_updates_reach_the_entries_of_an_ingredient(ex):
    ex.ingredients.append(part("data.loader", batch=8, workers=1))
    ex.main(lambda: None)
    for updates in ({"data.loader.batch": 3}, {"data": {"loader": {"batch": 3}}}):
        assert entries(run(ex, updates)) == {"data": {"loader": {"batch": 3, "workers": 1}}}


@pytest.mark.parametrize("updates, expected", [({}, 10), ({"data.n": 7}, 70)])
def test_named_config_gets_an_ingredient_as_known_so_far(ex, updates, expected):
    data = part("data", n=2)
    data.add_named_config("one", n=1)
    ex.ingredients.append(data)

    @ex.named_config
    def scaled(data):
        m = data["n"] * 10

    ex.main(lambda m=0: m)
    assert run(ex, updates, ["data.one", "scaled"]).result == expected


def test_config_hook_that_returns_everything_hides_no_typing_error(ex, capsys):
    ex.add_config(batch_size=1)
    ex.config_hook(lambda config, command_name, logger: config)
    ex.main(lambda: None)
    with pytest.raises(SystemExit) as caught:
        ex.run_commandline("exp.py with batchsize=3")
    assert caught.value.code == 1 and "'batchsize'" in capsys.readouterr().err


# -- seed --------------------------------------------------------------------------------


@pytest.fixture
def drawing(ex):
    ex.ingredients.append(part("data"))

    @ex.ingredients[0].config
    def data_config():
        drawn = random.random()

    @ex.config
    def config():
        drawn = random.random()

    ex.main(lambda: random.random())
    return ex


def test_seed_is_drawn_where_none_is_given(drawing):
    first, second = run(drawing), run(drawing)
    assert isinstance(first.config["seed"], int)
    assert first.config["seed"] != second.config["seed"]
    assert first.config["drawn"] != second.config["drawn"] and first.result != second.result


@pytest.mark.parametrize("how", [{"updates": {"seed": 7}}, {"named": ["seeded"]}])
def test_given_seed_fixes_what_scopes_and_main_draw(drawing, how):
    drawing.add_named_config("seeded", seed=7)
    first, second = run(drawing, **how), run(drawing, **how)
    assert first.config == second.config and first.config["seed"] == 7
    assert first.result == second.result


def test_torch_and_tensorflow_are_seeded_where_they_were_imported(place):
    (place.path / "torch.py").write_text("seeds = []\nmanual_seed = seeds.append\n")
    text = "seeds = []\nclass random: set_seed = seeds.append\n"
    (place.path / "tensorflow.py").write_text(text)
    done = place(
        """
        import torch, tensorflow

        @ex.config
        def config():
            before = list(torch.seeds + tensorflow.seeds)

        @ex.main
        def main(before):
            print(before, torch.seeds[-1], tensorflow.seeds[-1], len(torch.seeds))
        """,
        "with", "seed=7",
    )  # fmt: skip
    assert done.out == "[7, 7] 7 7 2\n", done.err


# -- what is remarked on -----------------------------------------------------------------


def test_update_that_nothing_uses_is_an_error_that_names_it(simple, capsys):
    with pytest.raises(ConfigAddedError, match="'lyers'"):
        run(simple, {"lyers": 1})
    with pytest.raises(SystemExit) as caught:
        simple.run_commandline("exp.py with lyers=1")
    assert caught.value.code == 1 and "'lyers'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["extra", "d.new", "more.inside"])
def test_added_entry_that_is_used_or_in_a_known_dictionary_is_a_warning(simple, caplog, name):
    @simple.capture
    def f(extra, more):
        pass

    assert run(simple, {name: 1, "d.y.z": 2}, ["huge"]).config_modifications.added == {name}
    assert repr(name) in caplog.text and "d.y.z" not in caplog.text


@pytest.mark.parametrize(
    "updates, kinds",
    [({"a": "text"}, "from int to str"), ({"layers": {}}, "from list to dict"),
     ({"d": 1}, "from dict to int")],
)  # fmt: skip
def test_changed_type_is_a_warning(simple, caplog, updates, kinds):
    run(simple, updates)
    assert kinds in caplog.text and repr(next(iter(updates))) in caplog.text


@pytest.mark.parametrize("updates", [{"a": 2.5}, {"rate": 1}, {"nothing": 5}, {"layers": None}])
def test_change_between_int_and_float_or_from_or_to_none_is_no_warning(simple, caplog, updates):
    run(simple, updates)
    assert "type" not in caplog.text


def test_fixed_name_that_the_scope_never_assigns_counts_as_added(ex):
    @ex.config
    def config(base):
        a = base + 1

    ex.main(lambda a: a)
    done = run(ex, {"base": 3})
    assert entries(done) == {"base": 3, "a": 4} and done.config_modifications.added == {"base"}
    with pytest.raises(MissingConfigError, match="'base'"):
        run(ex)


@pytest.mark.parametrize("word", ["lyers=1", "d.new=1", "a=text"])
def test_force_silences_error_and_warnings(simple, caplog, word):
    assert simple.run_commandline(f"exp.py --force with {word}").status == "COMPLETED"
    assert repr(word.partition("=")[0]) not in caplog.text


# -- suggestions -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "update, suggested",
    [
        ("lyers", "layers"), ("Layers", "layers"), ("seeed", "seed"),
        ("modle.encoder.depth", "model.encoder.depth"), ("optimizer.nam", "optimizer.name"),
        ("model.encoder.layer", "model.encoder.layers"),
        ("model.encodr.layers", "model.encoder.layers"),
        ("optimizer.lr", None), ("data.optimizer.name", None), ("completely_different", None),
    ],
)  # fmt: skip
def test_closest_name_by_the_part_that_differs_is_suggested(ex, caplog, update, suggested):
    ex.add_config(layers=1, model={"encoder": {"layers": 2, "depth": 1}}, optimizer={"name": "sgd"})
    ex.ingredients.append(part("data", path="/"))
    ex.main(lambda: None)
    try:
        run(ex, {update: 4})
        text = next(r.message for r in caplog.records if update in r.message)
    except ConfigAddedError as error:
        text = str(error)
    assert ("did you mean" in text) == (suggested is not None)
    assert suggested is None or f"did you mean {suggested!r}" in text


def test_entries_that_a_named_config_adds_are_not_doubted(simple, caplog):
    simple.add_named_config("more", {"d": {"xx": 1, "y": {"zz": 2}}})
    assert run(simple, named=["more"]).config["d"]["xx"] == 1
    assert "did you mean" not in caplog.text
