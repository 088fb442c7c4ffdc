"""Search files: what they may set, and the space that they describe."""

import copy

import optuna
import pytest
from search_project import BATCH, GRID, LR, NAME, ROOT, SEARCH

from classifold.errors import UserError
from classifold.params.validation import check_params
from classifold.search import space as module
from classifold.search.plan import make_plan
from classifold.search.samplers import sampler_of
from classifold.search.search_file import Search, read_search

M = "models.m"
SEARCHES = sorted((ROOT / "studies/search/searches").glob("*.yaml"))


@pytest.mark.parametrize("file", SEARCHES, ids=lambda file: file.stem)
def test_every_search_file_is_valid_for_the_projects_params(file, tmp_path, write_packs):
    write_packs(tmp_path, train=4, validation=4)
    found = make_plan(file, check_params(ROOT / "params.yaml"), packs=tmp_path)
    assert found.n_trials >= 3


def test_table_1_is_a_random_search_of_four_optimizers_over_rates_as_in_the_report():
    search = read_search(ROOT / "studies/search/searches/alphanet_table_1.yaml")
    (name, lr) = search.space.values()
    assert set(name.choices) == {"adam", "rmsprop", "adadelta", "sgd"}
    assert (lr.low, lr.high) == (0.0001, 0.01)
    assert (search.sampler.name, search.epochs) == ("random", 5)


def of_lr(**space):
    return {"space": {LR: space}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modle": "m"}, "modle: unknown key.*model"),
        ({"metric": "f1"}, "metric: must be .*got .f1"),
        ({"n_trials": 0}, "n_trials: .*got 0"),
        ({"n_trials": None}, "n_trials .*sampler random, got null"),
        ({"sampler": {"name": "cma", "seed": 1}}, "sampler.name: .*'random', 'tpe'"),
        ({"sampler": {"name": "random"}}, "sampler.seed: missing"),
        ({"pruner": {"name": "median", "n_warmup_steps": 1}}, "n_startup_trials: missing"),
        ({"space": {}}, "space: "),
        (of_lr(), f"space.{LR}: needs choices: .*, or low and high"),
        (of_lr(low=1.0), f"space.{LR}: needs choices: .*, or low and high"),
        (of_lr(low=2, high=1), "low .*high, got 2 and 1"),
        (of_lr(low=0, high=1, log=True), "low above 0, got 0"),
        (of_lr(low=1, high=4, step=0.5), "step .*integer, got 0.5; write low"),
        (of_lr(low=1, high=4, step=2), "multiple of step, got 1, 4 and 2"),
        (of_lr(choices=[1, 2], low=1), "choices .*got low"),
        (of_lr(choices=[1, 2, 1]), "choices must differ.*got .1, 2, 1"),
        ({"fixed": {LR: 1.0}}, f"fixed.{LR}: is in space, too"),
        (GRID | {"n_trials": 3} | of_lr(choices=[1]), "n_trials .*sampler grid, got 3"),
        (GRID, f"space.{LR}: sampler grid needs choices.*got a range"),
        (
            {"metric": "loss", "space": {f"{M}.loss.label_smoothing": {"low": 0.0, "high": 0.1}}},
            "metric: loss cannot .*accuracy or micro_f1",
        ),
    ],
)
def test_an_invalid_file_is_refused_with_one_message(project, params, changes, message):
    root = project(**changes)
    with pytest.raises(UserError, match=f"(?s)search.yaml.*{message}"):
        make_plan(root / "search.yaml", params, packs=root / "data/augmented")


def choices(path, *values):
    return {"space": {path: {"choices": list(values)}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "n"}, "model: .*params.yaml .m., got 'n'"),
        ({"metric": "micro_f1"}, "metric: must be accuracy or loss .*got micro_f1"),
        (
            choices("augment.size", 8, 16),
            "space.augment.size: augment belongs to other stages.*dvc exp run --queue -S "
            "'augment.size=…,…'",
        ),
        ({"fixed": {"split.seed": 3}}, "fixed.split.seed: split belongs to other stages"),
        (choices("stack.method", "mean"), "stack belongs to other stages"),
        (choices("models.n.batch_size", 8), "another model than 'm'"),
        (choices(f"{M}.seed", 1, 2), "seed: must be the same in all trials"),
        (choices(M, {}), "models.m: is a section; name a key"),
        ({"fixed": {"train.launcher": "auto"}}, "train.launcher: does not apply.*--workers"),
        (choices("policies.crop.fill", "edge"), "policies.crop.fill: .*it uses none"),
        (
            choices(f"{M}.phases.p2.epochs", 1),
            "models.m.phases.p2: no such key. Use one of p1. Correct 'space' or 'fixed'",
        ),
        (choices(f"{M}.seed.x", 1), "models.m.seed.x: no such key, .* got 1"),
        (choices(f"{M}.arguments.hidden.3", 1), "hidden.3: no such key.* 0"),
        (of_lr(low=-0.1, high=0.1), f"with the values optimizer.lr -0.1: {LR}: .*got -0.1"),
        (choices(NAME, "adam", "lion"), f"with the values optimizer.name lion: {NAME}: "),
        (choices(f"{M}.arguments.width", 1), "models.m.arguments.width: unknown key"),
        ({"fixed": {BATCH: 1}}, "models.m.batch_size: .*got 1"),
    ],
)
def test_settings_that_cannot_be_searched_are_refused_before_training(
    project, params, changes, message
):
    root = project(**changes)
    with pytest.raises(UserError, match=f"search.yaml: .*{message}"):
        make_plan(root / "search.yaml", params, packs=root / "data/augmented")


def test_a_value_that_is_invalid_in_one_cell_of_a_grid_is_found(project, params):
    min_lr = "models.m.phases.p1.schedule.min_lr"
    schedule = {"name": "cyclical", "min_lr": 0.001, "step_size": 4}
    root = project(
        **GRID,
        fixed={"models.m.phases.p1.schedule": schedule},
        space={LR: {"choices": [0.1, 0.001]}, min_lr: {"choices": [0.0001, 0.01]}},
    )
    message = "with the values optimizer.lr 0.001, schedule.min_lr 0.01: "
    with pytest.raises(UserError, match=message):
        make_plan(root / "search.yaml", params, packs=root / "data/augmented")


def test_values_are_set_at_their_paths_and_other_values_stay():
    content = {"a": {"b": [1, {"c": 2}]}, "d": 3}
    before = copy.deepcopy(content)
    changed = module.with_values(content, {"a.b.1.c": 5, "a.new": [6], "d": {"e": 7}, "d.e": 8})
    assert changed == {"a": {"b": [1, {"c": 5}], "new": [6]}, "d": {"e": 8}}
    assert content == before


def test_the_cells_of_a_grid_by_hand():
    search = Search.model_validate(
        SEARCH | GRID | {"space": {"a.b": {"choices": [1, 2]}, "c.d": {"choices": ["x", [3]]}}}
    )
    assert module.n_trials(search) == 4
    found = [tuple(cell.values()) for cell in module.cells(search)]
    assert found == [(1, "x"), (1, "[3]"), (2, "x"), (2, "[3]")]
    assert module.values_of(module.cells(search)[3], search) == {"a.b": 2, "c.d": [3]}


def test_a_range_is_of_integers_if_both_ends_are():
    space = {
        "a": {"low": 1, "high": 9, "step": 4},
        "b": {"low": 1, "high": 9.0},
        "c": {"low": 2, "high": 64, "log": True},
    }
    found = module.distributions(Search.model_validate(SEARCH | {"space": space}))
    assert found["a"] == optuna.distributions.IntDistribution(1, 9, step=4)
    assert found["b"] == optuna.distributions.FloatDistribution(1.0, 9.0)
    assert found["c"] == optuna.distributions.IntDistribution(2, 64, log=True)


def test_corners_have_every_choice_and_both_ends_by_hand():
    space = {"a.x": {"choices": [1, 2, 3]}, "a.y": {"low": 0.1, "high": 0.2}}
    found = module.corners(Search.model_validate(SEARCH | {"space": space}))
    pairs = [(sampled["a.x"], sampled["a.y"]) for sampled in found]
    assert pairs == [(1, 0.1), (2, 0.1), (3, 0.1), (1, 0.2)]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([LR, BATCH], ["optimizer.lr", "batch_size"]),
        ([f"{M}.phases.p1.epochs", f"{M}.phases.p2.epochs"], ["p1.epochs", "p2.epochs"]),
        ([LR, LR.replace("p1", "p2")], ["p1.optimizer.lr", "p2.optimizer.lr"]),
        (["policies.crop.fill"], ["crop.fill"]),
    ],
)
def test_short_names_are_distinct(paths, names):
    assert list(module.short_names(paths).values()) == names


def test_sampled_values_are_formatted_with_short_names():
    assert module.format_values({LR: 0.00123456, BATCH: 8}) == "optimizer.lr 0.001235, batch_size 8"


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_the_values_of_a_trial_depend_on_the_seed_and_its_number_alone(name):
    sampler = {"name": name, "seed": 4} | ({"n_startup_trials": 50} if name == "tpe" else {})
    search = Search.model_validate(SEARCH | {"sampler": sampler})
    study = optuna.create_study()

    def sample(number):
        study.sampler = sampler_of(search, number)
        return study.ask(module.distributions(search)).params[LR]

    sampled = [sample(number) for number in range(1, 41)]
    assert [sample(number) for number in (7, 3, 40)] == [sampled[6], sampled[2], sampled[39]]
    assert len(set(sampled)) == 40
    # Uniform in the logarithm: half of the values in [1e-4, 1e-1] are below the geometric mean.
    assert 10 <= sum(value < 10**-2.5 for value in sampled) <= 30
