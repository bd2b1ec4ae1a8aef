"""What chapter 4 measures, against plain loops on a tiny network; its verdicts and tables on records made by hand."""

import copy
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import twins
from torch.testing import assert_close

from lotterybook import experiment
from lotterybook.limits import findings, measures, readings, rules, tables, wells
from lotterybook.limits.readings import MAGNITUDE, RANDOM
from lotterybook.presets import PRESETS, Convergence, Descent, Overlap
from lotterybook.verdicts import FAILS, HOLDS, PARTLY, UNTESTED
from lotterylib import curvature, limits, order, pruning, training
from lotterylib.states import select


def table(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def setup(net, ds, config, small_run):
    """What experiments take, for the tiny run: three rewind steps, two replicates, nothing kept on disk."""
    about = SimpleNamespace(
        levels=(0, 2), replicates=2, rewind_steps=None, epsilons=None, probes=1, iterations=3, descent_step=25,
        exact_levels=(3,), exact_replicates=1, exact_examples=None, overlap=Overlap((0, 3), 3, 5),
        descent=Descent(3, 0.02, (0.3, 0.5), (0.4,)), 
        convergence=Convergence((0, 2), (2, 5), 2, ((0.3, 0.6), (0.5,)), ((0.3,), (0.5,))),
    )  # fmt: skip
    preset = SimpleNamespace(
        main=SimpleNamespace(config=config), limits=about, tickets=SimpleNamespace(control_step=5, points=3)
    )
    trained = {}

    def train(name, state, mask=None, start=0, order_seed=1, arm="main", recipe=None):
        trained[name] = {"state": state, "mask": mask, "start": start, "seeds": order_seed, "recipe": recipe}
        return training.train(net, state, ds, recipe or config.recipe, mask, start, None, order_seed)

    return SimpleNamespace(
        preset=preset, ds=ds, net=lambda: net, run=lambda levels=None: small_run, train=train, trained=trained,
        barrier=lambda a, b: experiment.landscape.error_barrier(net, a, b, ds.test_x, ds.test_y, 3),
    )  # fmt: skip


def made(name, setup):
    """What the experiment of this name returns."""
    return experiment.EXPERIMENTS[name][0](setup)


# Experiments


def test_the_top_of_the_spectrum_is_that_of_the_exact_hessian(net, ds, small_run):
    """Of two networks in float64, on 60 examples."""
    level, (x, y) = small_run[1], ds.gather(torch.arange(60))
    state, mask = twins.double(select(level.state, [0, 3])), select(level.mask, [0, 3])
    exact = torch.linalg.eigvalsh(curvature.hessian(net, state, x.double(), y, mask))
    values, vectors = measures.top(net, state, x.double(), y, mask, count=3, iterations=2)  # too few: they are doubled
    assert_close(values, exact[:, -3:].flip(1), rtol=1e-6, atol=0)
    product = curvature.hvp(net, state, x.double(), y, vectors, mask)
    residual = (product - values[..., None] * vectors).norm(dim=2)
    assert (residual <= 1.01e-4 * values[:, :1]).all()
    assert_close(vectors @ vectors.mT, torch.eye(3, dtype=torch.float64).expand(2, 3, 3), rtol=0, atol=1e-9)
    single = select(level.state, [0, 3])
    assert_close(measures.top(net, single, x, y, mask)[0], exact[:, -1:], rtol=1e-4, atol=0)
    for name, value in (("count", 0), ("count", exact.shape[1] + 1), ("iterations", 0)):
        with pytest.raises(ValueError, match=f"{name} is {value}; it must be >= 1"):
            measures.top(net, single, x, y, mask, **{name: value})


def test_some_rewind_steps_can_be_looked_at(setup, small_run):
    setup.preset.limits.rewind_steps = (12, 5)
    run = measures.networks(setup)
    assert run.config.rewind_step == (5, 12) and run.seeds == [3, 4, 3, 4]
    for name, tensor in run[2].state.items():
        assert torch.equal(tensor, small_run[2].state[name][2:])
    assert measures.networks(setup, (12,)).rewind_steps == [12, 12]
    assert made("spectra", setup)["largest"].shape == (2, 2, 2)


@pytest.mark.parametrize("chosen", limits.ORDERS)
def test_pruning_for_a_subspace_is_the_librarys_but_may_empty_a_layer(small_run, chosen):
    state, mask = small_run[1].state, small_run[1].mask
    rule = pruning.magnitude if chosen == "magnitude" else lambda *given: pruning.random(*given, 7)
    same, expected = wells.prune(state, mask, 0.4, chosen, 7), rule(state, mask, 0.4)
    assert all(torch.equal(same[name], expected[name]) for name in mask)
    with pytest.raises(ValueError, match="empties layer"):
        rule(state, mask, 0.995)
    left = wells.prune(state, mask, 0.995, chosen, 7)
    counts = pruning.remaining(mask)
    assert torch.equal(pruning.remaining(left), counts - (0.995 * counts.double()).ceil().long())
    with pytest.raises(ValueError, match="NaN"):
        wells.prune({name: tensor * torch.nan for name, tensor in state.items()}, mask, 0.4)


def test_values_in_orders_stand_at_their_fractions():
    values = torch.arange(8.0).view(4, 2)
    fractions = (0.3, 0.9), (0.1, 0.3)
    assert measures.union(*fractions) == [0.1, 0.3, 0.9]
    placed = measures.in_orders(values, fractions, [0.1, 0.3, 0.9])
    assert_close(placed[0, 1:], values[:2])
    assert_close(placed[1, :2], values[2:])
    assert placed[0, 0].isnan().all() and placed[1, 2].isnan().all()


def test_descents_have_the_recipe_that_they_say(setup, small_run, net, ds, config):
    """One of each order, and the control, against a plain module; where nothing was tried there is no number."""
    record = made("descents", setup)
    assert record["fraction"].tolist() == [0.3, 0.4, 0.5]
    assert record["loss"][:, 0, 1].isnan().all() and record["loss"][:, 1, [0, 2]].isnan().all()
    recipe = training.Recipe(steps=3, batch_size=16, lr=0.02, momentum=0.9, weight_decay=1e-3)
    here, column = small_run[2], 3  # rewind step 5, replicate 1
    for prune, got in (
        (lambda: wells.prune(here.state, here.mask, 0.5), record["loss"][1, 0, 2, 1, 1]),
        (lambda: pruning.random(here.state, here.mask, 0.4, experiment.OTHER), record["loss"][1, 1, 1, 1, 1]),
        (lambda: here.mask, record["control_loss"][1, 1, 1]),
    ):
        model = twins.module(net, here.state, column)
        twins.sgd(model, ds, recipe, 4, twins.part(prune(), column))
        assert float(got) == pytest.approx(twins.loss(model, *ds.training_set()), rel=1e-3)
    assert float(record["solution"][1, 1, 1]) == pytest.approx(
        twins.loss(twins.module(net, here.state, column), *ds.training_set()), rel=1e-4
    )


def test_without_a_descent_they_are_the_end_of_the_schedule(setup):
    setup.preset.limits.descent = None
    record = made("descents", setup)
    assert "control_loss" not in record and record["fraction"].tolist() == list(measures.DESCENTS)
    noted = setup.trained["descent_2"]
    assert noted["start"] == 25 and noted["recipe"] == setup.preset.main.config.recipe
    assert noted["seeds"] == [3, 4, 3, 4, 3, 4] * 16 and record["loss"].isfinite().all()


def test_convergence_trains_each_level_by_each_length(setup, small_run, net, ds):
    record = made("convergence", setup)
    assert record["steps"].tolist() == [2, 5] and record["level"].tolist() == [0, 2]
    assert record["fraction"].tolist() == [0.3, 0.5, 0.6] and record["loss"].shape == (2, 2, 2, 3, 2)
    tried = record["loss"].isfinite().all(-1).all(1)
    assert tried.tolist() == [[[True, False, True], [True, False, False]], [[False, True, False]] * 2]
    for n, level, place, fraction in ((0, 0, 2, 0.6), (1, 2, 1, 0.5)):
        here = small_run[level]
        for row, steps in enumerate((2, 5)):
            recipe = training.Recipe(steps=steps, batch_size=16, lr=0.02, momentum=0.9, weight_decay=1e-3)
            model, mask = twins.module(net, here.state, 1), wells.prune(here.state, here.mask, fraction)
            twins.sgd(model, ds, recipe, 4, twins.part(mask, 1))
            loss = twins.loss(model, *ds.training_set())
            assert float(record["loss"][n, row, 0, place, 1]) == pytest.approx(loss, rel=1e-3)


def test_the_noise_of_a_batch_is_that_of_an_epoch(setup, small_run, net, ds, config):
    found = measures.batch_noise(setup, small_run[1].state)
    model = twins.module(net, small_run[1].state, 4)
    x, y = ds.training_set()
    rows = order.epoch_order(ds, config.recipe, 3, 0)[0].tolist()
    losses = [twins.loss(model, x[batch], y[batch]) for batch in rows]
    assert len(losses) == 15 and float(found[4]) == pytest.approx(np.std(losses, ddof=1), rel=1e-4)


def brute_force(eigenvalues, weights, epsilon):
    """The first of many fractions of random pruning that leaves the well, from the sum written out."""
    for p in np.linspace(0, 1, 20001):
        squared = p * float((weights**2).sum())
        terms = [2 * epsilon / (value * squared + 2 * epsilon) if value > 0 else 1 for value in eigenvalues.tolist()]
        if p >= np.mean(terms):
            return p


def test_two_treatments_of_eigenvalues_below_zero():
    setup = SimpleNamespace(preset=SimpleNamespace(limits=SimpleNamespace(epsilons=(0.01, 0.05))))
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(40, generator=draw, dtype=torch.float64)
    values = torch.randn(40, generator=draw, dtype=torch.float64)
    found = measures._of_one(setup, values, torch.full((40,), 1 / 40, dtype=torch.float64), weights)
    for row, epsilon in enumerate((0.01, 0.05)):
        for name, each in (("predicted", values), ("predicted_absolute", values.abs())):
            assert float(found[name][row, RANDOM]) == pytest.approx(brute_force(each, weights, epsilon), abs=1e-4)
    assert (found["predicted"] > found["predicted_absolute"] + 0.05).all()  # what has no end holds no subspace off
    assert float(found["negative"]) == pytest.approx(float((values < 0).double().mean()))


def test_the_exact_model_ends_where_the_lowest_loss_exceeds_epsilon(setup, small_run, net, ds):
    record, run = made("exact", setup), small_run.at(5)
    matrix = curvature.hessian(net, select(run[3].state, [0]), *ds.training_set(), select(run[3].mask, [0]))[0]
    assert float(record["largest"][0, 0]) == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=1e-4)
    size = len(matrix)
    for e, epsilon in enumerate(record["epsilon"].tolist()):
        for chosen in range(2):
            model = float(record["model"][0, 0, e, chosen])
            for fraction, lowest in zip(record["fraction"].tolist(), record["lowest"][0, 0, chosen], strict=True):
                count = math.ceil(np.float32(fraction) * size)
                assert (count <= round(model * size)) == bool(lowest <= epsilon)
    assert record["model"].min() > 0 and record["model"].max() <= 1


def test_the_overlap_is_that_of_the_exact_eigenvectors(setup, small_run, net, ds):
    record, run = made("overlap", setup), small_run.at(5)
    state, mask = select(run[3].state, [1]), select(run[3].mask, [1])
    values, vectors = np.linalg.eigh(curvature.hessian(net, state, *ds.training_set(), mask)[0].double().numpy())
    assert np.allclose(record["eigenvalue"][1, :, 1], values[::-1][:3], rtol=1e-3)
    keep = torch.cat([mask[name][0].flatten() for name in mask])
    weights = torch.cat([state[name][0].flatten() for name in mask])[keep].abs().numpy()
    assert record["fraction"].tolist() == [0.3, 0.5, 0.8, 0.95]
    for row, fraction in enumerate(record["fraction"].tolist()):
        stays = np.argsort(np.argsort(weights)) >= math.ceil(fraction * len(weights) - 1e-6)
        for k in range(3):
            share = (vectors[:, -1 - k] ** 2)[stays].sum()
            assert float(record["kept"][1, MAGNITUDE, row, k, 1]) == pytest.approx(share, abs=0.02)
    drawn = wells.prune(run[3].state, run[3].mask, 0.5, "random", experiment.OTHER)
    left = torch.cat([drawn[name][1].flatten() for name in mask])[keep].numpy()
    share = (vectors[:, -1] ** 2)[left].sum()
    assert float(record["kept"][1, RANDOM, 1, 0, 1]) == pytest.approx(share, abs=0.02)


# Readings


def records(gap=0.0, beyond=0.0, flat=True):
    """Two levels, one rewind step, two replicates: predicted .4 and .5 at random, .6 and .7 by magnitude.

    At random what is measured lies ``gap`` below that, by magnitude ``beyond`` above. The control is level 10 here.
    """
    promise = table([0.6, 0.4], [0.7, 0.5])  # level, order
    sizes = table(*rules.JUDGED)
    fraction = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    met = promise + table(beyond, -gap)
    slope = (
        0.005 / met
    )  # the rise is a straight line through 0 that reaches every well at the same fraction, steep then
    rise = torch.where(fraction <= met[..., None] + 1e-9, fraction * slope[..., None] * 0.99, 50.0)
    lines = torch.stack([rise, rise], -1)[..., None, :]
    spectra = {
        "predicted": promise[:, None, :, None, None].expand(2, 4, 2, 1, 2).clone(), "epsilon": sizes,
        "along": table([1.0, 2.0] if flat else [2.0, 1.0])[..., None, None].expand(2, 2, 1, 2).clone(),
        "rewind_step": torch.tensor([75]), "level": torch.tensor([0, 8]),
        "batch_noise": table([[0.01, 0.01]]).expand(2, 1, 2),
    }  # fmt: skip
    spectra["predicted_absolute"] = spectra["predicted"] - 0.1
    descents = {
        "loss": 1 + lines, "barrier": lines / 100, "solution": torch.ones(2, 1, 2, dtype=torch.float64),
        "control_loss": torch.ones(2, 1, 2, dtype=torch.float64), "fraction": fraction,
        "rewind_step": torch.tensor([75]), "level": torch.tensor([0, 8]),
    }  # fmt: skip
    return spectra, descents


def test_fractions_are_read_between_those_that_were_tried():
    descents = {
        "loss": table([[0.3, 0.31, torch.nan, 0.34], [0.3, torch.nan, 0.32, 0.4]])[..., None, None],
        "barrier": table([[0.0, 0.0, torch.nan, 0.01], [0.04, torch.nan, 0.3, 0.4]])[..., None, None],
        "solution": table([[0.3]]), "fraction": table(0.1, 0.2, 0.4, 0.6), "rewind_step": torch.tensor([75]),
    }  # fmt: skip
    assert_close(readings.by_loss(descents, 0.025, MAGNITUDE), table([[0.2 + 0.4 * 0.5]]))
    assert_close(readings.by_loss(descents, 0.025, RANDOM), table([[0.4 + 0.2 * 0.005 / 0.08]]))
    assert_close(readings.by_loss(descents, 0.5, MAGNITUDE), table([[0.6]]))  # never left
    assert_close(readings.by_mode(descents, MAGNITUDE), table([[0.6]]))
    assert_close(readings.by_mode(descents, RANDOM), table([[0.05]]))  # between none and the first
    spectra = {
        "predicted": table([[[[0.9]], [[0.5]]]])[None],
        "epsilon": table(0.02),
        "rewind_step": torch.tensor([75]),
    }
    spectra["predicted"] = spectra["predicted"].view(1, 1, 2, 1, 1)
    assert readings.predicted(spectra, descents, [0.02], MAGNITUDE).item() == 0.6  # cut at the largest tried
    assert readings.predicted(spectra, descents, [0.02], RANDOM).item() == 0.5


def test_the_own_noise_lies_between_two_wells():
    spectra, descents = records()
    rungs = table(0.1, 0.2, 0.3, 0.4)
    spectra["predicted"][:, :, RANDOM] = rungs[:, None, None]
    spectra["batch_noise"] = table([[0.01, 0.0001]]).expand(2, 1, 2)
    promise, _ = readings.at_noise(spectra, descents, RANDOM)
    assert_close(promise[0, 0], table(0.1 + 0.1 * math.log(2) / math.log(4), 0.1))  # no further than the record goes


def test_descents_of_each_length_are_compared():
    loss = table(
        [[[0.5], [0.9]], [[0.9], [0.9]]],
        [[[0.02], [0.06]], [[0.02], [0.9]]],
        [[[0.02], [0.05]], [[0.02], [0.9]]],
    )
    levels = {
        "loss": torch.stack([torch.full_like(loss, 0.9), loss]), "solution": table([0.5], [0.02]),
        "level": torch.tensor([0, 8]), "fraction": table(0.6, 0.8), "steps": torch.tensor([100, 1500, 3000]),
    }  # fmt: skip
    record = readings.of_level(levels, 1)
    found = readings.by_length(record, 0)
    assert_close(found[:, 0], table(0.6 * 0.02 / 0.48, 0.6 + 0.2 * 0.02 / 0.04, 0.6 + 0.2 * 0.02 / 0.03))
    change, settled = rules.long_enough(record, 1500)
    assert settled and float(change[0, 0]) == pytest.approx(0.2 * (2 / 3 - 0.5))
    assert not rules.long_enough(record, 100)[1]


def test_a_step_is_taken_out_of_every_entry_that_has_one():
    record = {"along": torch.rand(3, 2, 2, 4), "grid": torch.rand(5), "rewind_step": torch.tensor([25, 75])}
    part = readings.of_step(record, 75)
    assert torch.equal(part["along"], record["along"][:, :, 1:]) and part["rewind_step"].tolist() == [75]
    assert torch.equal(part["grid"], record["grid"])


# Verdicts


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ([[0.1, 0.02], [0.0, 0.05]], HOLDS),
        ([[0.19, 0.19], [0.11, 0.2]], PARTLY),  # all near
        ([[0.05, 0.05], [0.05, 0.6]], PARTLY),  # most close
        ([[0.05, 0.05], [0.15, 0.6]], FAILS),  # half of them are not most
        ([[math.nan, 0.0], [0.0, 0.0]], UNTESTED),
        ([], UNTESTED),
    ],
)
def test_the_number_is_judged_level_by_level(gaps, verdict):
    assert rules.number(table(*gaps)) == verdict


def test_the_claim_holds_no_more_than_its_number():
    assert rules.whole(HOLDS, HOLDS, HOLDS) == HOLDS
    assert rules.whole(HOLDS, FAILS, HOLDS) == rules.whole(PARTLY, HOLDS, HOLDS) == PARTLY
    assert rules.whole(FAILS, HOLDS, HOLDS) == FAILS
    assert rules.whole(HOLDS, UNTESTED, HOLDS) == rules.whole(FAILS, HOLDS, UNTESTED) == UNTESTED


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, HOLDS),
        ({"gap": 0.15}, PARTLY),
        ({"gap": 0.3}, FAILS),
        ({"beyond": -0.1}, PARTLY),
        ({"beyond": 0.1}, HOLDS),
        ({"flat": False}, PARTLY),
    ],
)
def test_the_row_follows_from_the_records(changed, verdict):
    spectra, descents = records(**changed)
    row = findings.judged(spectra, descents, 75)
    assert row.verdict == verdict and "2 replicates" in row.measure and "levels 0, 8" in row.measure
    gap = 100 * changed.get("gap", 0)
    assert f"differ by {gap:.0f} points at level 0 and {gap:.0f} points at level 8." in row.value
    assert row.value.endswith(f" the flatter way {HOLDS if changed.get('flat', True) else FAILS}")
    assert findings.verdict(spectra, descents, 75) == [row]


def test_predictions_that_spread_too_far_give_no_verdict():
    """Two replicates at 0.21 and 0.59 spread by 0.19; a little more is not resolved. The other parts stay judged."""
    for far, verdict in ((0.19, PARTLY), (0.21, UNTESTED)):
        spectra, descents = records()
        spectra["predicted"][1, 2, RANDOM] = table([0.4 - far, 0.4 + far])
        assert rules.spread(spectra, descents) == pytest.approx(far)
        row, parts = findings.judged(spectra, descents, 75), rules.parts(spectra, descents, 75)[3]
        assert row.verdict == verdict and parts[1:] == (HOLDS, HOLDS)
        assert ("the predictions of the replicates spread by 21 points." in row.value) == (verdict == UNTESTED)


def test_networks_that_were_not_measured_give_no_verdict():
    spectra, descents = records()
    descents = copy.deepcopy(descents)
    descents["loss"][1, RANDOM, 4] = torch.nan  # the number at level 8 is unknown
    assert findings.judged(spectra, descents, 75).verdict == UNTESTED


def shots(good, density=(0.5, 0.2)):
    """Tickets and controls: which of the ``density`` match in one shot."""
    tickets = {
        "error": table([[0.02, 0.02]], [[0.02, 0.02]], [[0.02, 0.02]]), "density": table(1, 0.8, 0.64),
        "rewind_step": torch.tensor([75]),
    }  # fmt: skip
    error = table(*([0.02, 0.028] if yes else [0.02, 0.032] for yes in good))
    return tickets, {"one_shot": error, "density": table(*density), "rewind_step": torch.tensor(75)}


def test_one_shot_pruning_matches_within_half_a_point():
    match, miss = rules.one_shot(*shots((True, False)))
    assert match.tolist() == [0.5] and miss.tolist() == [0.2]


@pytest.mark.parametrize(
    ("good", "density", "verdict"),
    [
        ((True, False), (0.5, 0.2), HOLDS),
        ((False, False), (0.5, 0.2), PARTLY),
        ((True, True), (0.5, 0.2), FAILS),
        ((True, False), (0.5, 0.41), PARTLY),  # within the limit, and fails
    ],
)
def test_one_shot_pruning_goes_as_far_as_the_spectrum_says(good, density, verdict):
    """By magnitude .6 may go from the dense network: .4 must be left."""
    spectra, _ = records()
    assert rules.least_left(spectra).tolist() == pytest.approx([0.4, 0.4])
    assert rules.foretold(spectra, *shots(good, density)) == verdict


def test_a_threshold_saves_trainings_to_the_sparsest_network_that_matches():
    tickets, _ = shots((True, False))
    run = {
        "density": table([1, 0.6, 0.4], [1, 0.9, 0.8], [1, 0.5, 0.3]),  # two trainings, where fixed ones are three, ...
        "error": table([[0.02] * 2, [0.02] * 2, [0.03] * 2], [[0.02] * 2] * 3, [[0.02] * 2, [0.03] * 2, [0.02] * 2]),
    }
    assert rules.cheaper(tickets, run) == [True, False, False]  # the last never matches once pruned, but for a while


def test_a_descent_stays_in_the_valley_as_far_as_its_loss_stays_low():
    spectra, descents = records()
    assert rules.in_the_valley(descents, RANDOM).all()  # the barrier leaves two points only where the loss leaves all
    descents["barrier"] = descents["barrier"].clone()
    descents["barrier"][0, RANDOM, 3:] = 0.3  # from .2 on
    assert rules.in_the_valley(descents, RANDOM).tolist() == [[[False, False]], [[True, True]]]
    assert rules.in_the_valley(descents, MAGNITUDE).all()


def test_questions_are_judged_by_their_rules():
    spectra, descents = records()
    tickets, control = shots((True, False))
    run = {"density": table([1, 0.6, 0.4]), "error": table([[0.02] * 2] * 3)}
    rows = findings.questions(spectra, descents, tickets, control, run)
    assert [row.verdict for row in rows] == [FAILS, HOLDS, HOLDS, HOLDS]  # here the sparse network can lose more
    assert rows[0].value.startswith("By magnitude, predicted 60 % of the dense network and 70 % at level 8")
    assert all(len(re.findall(r"\d+(?: %)?", row.value)) <= 5 for row in rows)
    turned = {**spectra, "predicted": spectra["predicted"].flip(0)}, {**descents, "loss": descents["loss"].flip(0)}
    assert findings.questions(*turned, tickets, control, run)[0].verdict == HOLDS
    descents["barrier"] = descents["barrier"].clone()
    descents["barrier"][:, RANDOM, 2:] = 0.3
    assert findings.questions(spectra, descents, tickets, control, run)[1].verdict == PARTLY


def test_tables_hold_what_was_read_off():
    spectra, descents = records(gap=0.1)
    projected = {
        "loss": table(0, 0.01, 0.03)[:, None, None].expand(2, 2, 3, 1, 2), "fraction": table(0, 0.1, 0.3),
        "rewind_step": torch.tensor([75]),
    }  # fmt: skip
    head, _, *rows = tables.fractions(spectra, descents, projected, 75)
    assert head.count("|") == 9 and len(rows) == 4
    assert rows[0].startswith("| 0 | at random | 40 ± 0 / 30 ± 0 |") and rows[0].endswith("| 20 ± 0 |")
    assert "| 0 | by magnitude | 50 ± 0 |" in tables.other_wells(spectra, descents, 75)[3]
    exact = {
        "predicted": table([[0.1, 0.2]] * 4).expand(1, 2, 4, 2), "model": table([[0.3, 0.4]] * 4).expand(1, 2, 4, 2),
        "epsilon": spectra["epsilon"], "level": torch.tensor([8]),
    }  # fmt: skip
    spectra["predicted"] = spectra["predicted"][..., :1, :]
    assert tables.exact(exact, spectra, descents, 75)[2] == "| 8 | at random | 20 ± 0 | 50 ± 0 | 40 ± 0 | 40 ± 0 |"
    during = {
        "predicted": table(*[[0.5, 0.3]] * 4)[..., None].expand(2, 4, 2, 2), "epsilon": spectra["epsilon"],
        "largest": table([3.0, 5.0], [1.0, 1.0]), "step": torch.tensor([75, 1500]),
    }  # fmt: skip
    assert tables.during(during)[2] == "| 75 | 30 ± 0 | 50 ± 0 | 4.0 |"


def test_trainings_are_counted_to_a_density():
    assert readings.trainings(table(1, 0.8, 0.64), 0.64) == 3
    assert readings.trainings(table(1, 0.8, 0.64), 0.5) is None


def test_the_second_edition_looks_where_its_rules_do():
    about = PRESETS["book"].limits
    assert set(rules.JUDGED) <= set(about.epsilons) and about.descent.steps in about.convergence.steps
    assert about.convergence.levels == (about.levels[0], about.levels[-1]), "how long, at either end"
    assert PRESETS["book"].tickets.control_step in about.descent.rewind_steps and about.replicates >= 4
    assert max(about.convergence.steps) >= 2 * about.descent.steps and 0 in about.levels and len(about.levels) >= 3
    assert about.descent.at_random == tuple(n / 10 for n in range(1, 10))
