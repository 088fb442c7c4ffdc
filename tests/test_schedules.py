"""Learning rates from step to step, as torch has them or by hand, for every group of parameters."""

import math

import pytest
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, OneCycleLR

from classifold.training.optimizers import make_optimizer
from classifold.training.schedules import make_schedule

FACTORS = [1.0, 0.1]  # on the rate, of each of two groups


def optimizer_of(lr=1.0, *, name="sgd", momentum=0.9):
    """An optimizer of as many groups as there are factors."""
    network = nn.ModuleList(nn.Linear(1, 1) for _ in FACTORS)
    own = {"momentum": momentum} if name in ("sgd", "rmsprop") else {}
    by_layer = {str(i): factor for i, factor in enumerate(FACTORS)}
    return make_optimizer(network, name=name, lr=lr, lr_factors=by_layer, **own)


def settings_of_steps(optimizer, after_step, n_steps, key="lr"):
    """The setting `key` of each group at each step, and what it would be at the next."""
    found = []
    for _ in range(n_steps):
        found.append([group[key] for group in optimizer.param_groups])
        optimizer.step()
        after_step()
    return [*found, [group[key] for group in optimizer.param_groups]]


def rates_of_steps(n_epochs, steps_per_epoch, *, lr=1.0, key="lr", optimizer=None, **settings):
    """What `make_schedule` makes of two groups, a row a step."""
    optimizer = optimizer or optimizer_of(lr)
    schedule = make_schedule(
        optimizer, n_epochs=n_epochs, steps_per_epoch=steps_per_epoch, **settings
    )
    return settings_of_steps(optimizer, schedule.after_step, n_epochs * steps_per_epoch, key)


def in_groups(first):
    """Rows of both groups, the second's rate a tenth of the first's."""
    return [pytest.approx([rate * factor for factor in FACTORS], abs=1e-12) for rate in first]


def test_a_constant_rate_stays():
    optimizer = optimizer_of(0.3)
    schedule = make_schedule(optimizer, name="constant", n_epochs=2, steps_per_epoch=3)
    schedule.after_epoch(0.5)
    assert settings_of_steps(optimizer, schedule.after_step, 6) == in_groups([0.3] * 7)


def after_epochs(scores, **settings):
    """The rates after epochs of these scores."""
    optimizer = optimizer_of()
    schedule = make_schedule(
        optimizer, name="plateau", n_epochs=len(scores), steps_per_epoch=1, **settings
    )
    found = []
    for score in scores:
        schedule.after_step()  # counts for nothing
        schedule.after_epoch(score)
        found.append([group["lr"] for group in optimizer.param_groups])
    return found


LOSSES = [-1.0, -0.9, -0.9, -0.90001, -0.5, -0.50001, -0.5]  # one that stays or grows is worse


@pytest.mark.parametrize(
    ("scores", "factor", "patience", "expected"),
    [
        ([5, 6, 6, 5.9, 7, 6, 6, 6, 6], 0.1, 1, [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001]),
        *(
            ([scale * x for x in LOSSES], 0.5, 1, [1, 1, 1, 0.5, 0.5, 0.5, 0.25])
            for scale in (0.3, 50)
        ),
        ([0.5, 0.5, 0.6], 0.5, 0, [1, 0.5, 0.5]),
    ],
)
def test_a_plateau_lowers_the_rate_when_the_score_has_not_risen_for_its_patience(
    scores, factor, patience, expected
):
    assert after_epochs(scores, factor=factor, patience=patience) == in_groups(expected)


def test_a_cyclical_rate_is_torchs_triangle():
    found = rates_of_steps(5, 7, lr=0.6, name="cyclical", min_lr=0.1, step_size=4)
    theirs = optimizer_of(0.6)
    reference = CyclicLR(
        theirs, base_lr=[0.1, 0.01], max_lr=[0.6, 0.06], step_size_up=4, cycle_momentum=False
    )
    expected = settings_of_steps(theirs, reference.step, 35)
    assert found == [pytest.approx(row, abs=1e-12) for row in expected]


def test_a_cyclical_rate_does_not_change_momentum():
    found = rates_of_steps(3, 2, key="momentum", name="cyclical", min_lr=0.1, step_size=2)
    assert found == [[0.9, 0.9]] * 7


def test_a_cosine_without_warm_up_is_torchs():
    theirs = optimizer_of()
    reference = CosineAnnealingLR(theirs, T_max=20)
    expected = settings_of_steps(theirs, reference.step, 20)
    found = rates_of_steps(4, 5, name="cosine", warmup_epochs=0)
    assert found == [pytest.approx(row, abs=1e-12) for row in expected]


def test_a_cosine_with_warm_up_by_hand():
    # 1.5 epochs of 2 steps rise: 3 steps; the other 5 fall, to 0 after the last.
    falling = [0.5 * (1 + math.cos(math.pi * i / 5)) for i in range(6)]
    found = rates_of_steps(4, 2, name="cosine", warmup_epochs=1.5)
    assert found == in_groups([1 / 4, 2 / 4, 3 / 4, *falling])


ONE_CYCLE = {"pct_start": 0.3, "div_factor": 25, "final_div_factor": 1000}


@pytest.mark.parametrize("extra", [{}, {"anneal_strategy": "linear"}, {"three_phase": True}])
@pytest.mark.parametrize("key", ["lr", "momentum"])
def test_one_cycle_is_torchs_with_the_optimizers_rates_as_its_peaks(extra, key):
    settings = ONE_CYCLE | extra
    found = rates_of_steps(5, 4, lr=0.4, key=key, name="one_cycle", **settings)
    theirs = optimizer_of(0.4)
    reference = OneCycleLR(theirs, max_lr=[0.4, 0.04], total_steps=21, **settings)
    expected = settings_of_steps(theirs, reference.step, 20, key)
    assert found == [pytest.approx(row) for row in expected]
    assert len({row[0] for row in found}) > 10  # it is a cycle


@pytest.mark.parametrize(
    ("div_factor", "final_div_factor", "beginning"), [(100000, 1, 1e-7), (25, 4000, 0.0004)]
)
def test_the_photos_report_cycles_its_rate_to_a_ten_millionth_and_its_momentum_against_it(
    div_factor, final_div_factor, beginning
):
    # Report 001, section 4: between 0.01 and 1e-7, momentum between 0.85 and 0.95.
    settings = {
        "name": "one_cycle", "pct_start": 0.3, "div_factor": div_factor,
        "final_div_factor": final_div_factor, "base_momentum": 0.85, "max_momentum": 0.95,
    }  # fmt: skip
    first = [row[0] for row in rates_of_steps(1, 199, lr=0.01, **settings)]
    momenta = rates_of_steps(1, 199, lr=0.01, key="momentum", **settings)
    peak = first.index(max(first))
    assert (first[0], first[peak], first[-1]) == pytest.approx((beginning, 0.01, 1e-7))
    assert momenta[0] == momenta[-1] == pytest.approx([0.95, 0.95])
    assert momenta[peak] == pytest.approx([0.85, 0.85])
    # As far as the one has gone from one limit to the other, so far has the other come back.
    for step, (rate, (momentum, _)) in enumerate(zip(first, momenta, strict=True)):
        lowest = beginning if step <= peak else 1e-7
        risen = (rate - lowest) / (0.01 - lowest)
        assert risen == pytest.approx((0.95 - momentum) / 0.1, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "key", "value_of"),
    [
        ("adam", "betas", lambda momentum: (momentum, 0.999)),  # the first beta
        ("adamw", "betas", lambda momentum: (momentum, 0.999)),
        ("rmsprop", "momentum", lambda momentum: momentum),
    ],
    ids=["adam", "adamw", "rmsprop"],
)
def test_one_cycle_cycles_what_an_optimizer_has_as_momentum(name, key, value_of):
    optimizer = optimizer_of(0.01, name=name)
    found = rates_of_steps(1, 19, optimizer=optimizer, key=key, name="one_cycle", **ONE_CYCLE)
    # Torch's own limits: 0.95 and 0.85.
    assert found[0] == found[-1] == [pytest.approx(value_of(0.95))] * 2
    assert found[5] == [pytest.approx(value_of(0.85))] * 2


@pytest.mark.parametrize(("name", "momentum"), [("sgd", 0), ("rmsprop", 0), ("adadelta", None)])
def test_one_cycle_changes_only_the_rate_without_momentum(name, momentum):
    optimizer = optimizer_of(0.5, name=name, momentum=momentum)
    found = rates_of_steps(1, 19, optimizer=optimizer, name="one_cycle", **ONE_CYCLE)
    assert found[5] == pytest.approx([0.5, 0.05])
    assert {group.get("momentum", momentum) for group in optimizer.param_groups} == {momentum}


def test_an_unknown_schedule_is_an_error():
    with pytest.raises(ValueError, match="unknown schedule 'cosin'"):
        make_schedule(optimizer_of(), name="cosin", n_epochs=1, steps_per_epoch=1)
