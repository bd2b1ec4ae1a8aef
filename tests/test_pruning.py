"""Pruning rules against brute force, replicate by replicate."""

import math
from fractions import Fraction

import pytest
import torch
import twins

from lotterylib import networks, pruning
from lotterylib.states import select


def counts(mask):
    """Kept weights by layer and replicate, counted without the library."""
    return {name: [int(keep[r].sum()) for r in range(len(keep))] for name, keep in mask.items()}


def kept(mask, r):
    return sum(int(keep[r].sum()) for keep in mask.values())


@pytest.fixture(scope="module")
def state(net):
    """Three replicates whose layers have very different scales, so that a global ranking is not a local one."""
    state = net.init(3, seed=8)
    state["convolutions.1.weight"] *= 2
    state["linear.weight"] *= 1.6
    state["convolutions.0.weight"][2] *= 0.7
    return state


@pytest.fixture(scope="module")
def whole(net, state):
    return pruning.full(net, state)


def test_full_mask_keeps_prunable_weights_only(net, state, whole):
    assert tuple(whole) == net.prunable
    assert all(keep.dtype == torch.bool and keep.shape == state[name].shape for name, keep in whole.items())
    assert pruning.density(whole) == 1


@pytest.mark.parametrize("fraction", [0.2, 0.45, 1 / 3])
def test_magnitude_is_the_brute_force_ranking_of_all_layers_together(state, whole, fraction):
    mask = whole
    for _ in range(2):
        before, mask = mask, pruning.magnitude(state, mask, fraction)
        for r in range(3):
            expected = twins.prune(twins.part(state, r), twins.part(before, r), fraction)
            assert all(torch.equal(mask[name][r], expected[name]) for name in expected)
    shares = {name: counts(mask)[name][0] / whole[name][0].numel() for name in mask}
    assert max(shares.values()) > 1.5 * min(shares.values()), "the test's own premise: layers are pruned unevenly"


def test_counts_are_those_of_ceil():
    """20 % of the remaining, rounded up, down to a handful: exact arithmetic against floating point."""
    state = {"w": torch.randn(2, 4776, generator=torch.Generator().manual_seed(0))}
    mask, left = {"w": torch.ones(2, 4776, dtype=torch.bool)}, 4776
    for _ in range(20):
        mask = pruning.magnitude(state, mask, 0.2)
        left -= math.ceil(Fraction(1, 5) * left)
        assert kept(mask, 0) == kept(mask, 1) == left
        assert pruning.remaining(mask).tolist() == [left, left]
        assert pruning.density(mask) == pytest.approx(left / 4776)
    assert left < 60


def test_density_is_the_mean_over_replicates():
    mask = {"a": torch.tensor([[True, False], [True, True]]), "b": torch.tensor([[[True, False]], [[True, True]]])}
    assert pruning.remaining(mask).tolist() == [2, 4]
    assert pruning.density(mask) == 0.75


def test_ties_do_not_prune_more_than_asked():
    state = {"a": torch.ones(1, 10), "b": -torch.ones(1, 7)}
    mask = pruning.magnitude(state, {name: torch.ones_like(w).bool() for name, w in state.items()}, 0.25)
    assert kept(mask, 0) == 17 - 5


def test_layerwise_is_the_brute_force_ranking_of_each_layer(state, whole):
    mask = pruning.layerwise(state, pruning.layerwise(state, whole, 0.3), 0.3)
    for r in range(3):
        for name in whole:
            expected = {name: twins.part(whole, r)[name]}
            for _ in range(2):
                expected = twins.prune(twins.part(state, r), expected, 0.3)
            assert torch.equal(mask[name][r], expected[name])


def test_layers_may_have_fractions_of_their_own(state, whole):
    """Frankle & Carbin (2019) prune the last layer at half the rate of the others."""
    fractions = {name: 0.1 if name == "linear.weight" else 0.2 for name in whole}
    mask = pruning.layerwise(state, whole, fractions)
    for r in range(3):
        for name, fraction in fractions.items():
            assert torch.equal(mask[name][r], twins.prune(twins.part(state, r), {name: whole[name][r]}, fraction)[name])
    with pytest.raises(ValueError, match="fraction lacks the entry 'linear.weight'; it must be one number or hold con"):
        pruning.layerwise(state, whole, {name: 0.2 for name in whole if name != "linear.weight"})
    with pytest.raises(ValueError, match="fraction entry is 'linear.bias', which is unknown; allowed are"):
        pruning.layerwise(state, whole, {**fractions, "linear.bias": 0.1})
    with pytest.raises(ValueError, match="fraction is 1.5; it must be > 0 and < 1"):
        pruning.layerwise(state, whole, {**fractions, "linear.weight": 1.5})


@pytest.mark.parametrize("rule", [pruning.magnitude, pruning.layerwise, pruning.random])
def test_counts_are_exact_whatever_floating_point_makes_of_the_fraction(rule):
    """3 * .1 of 100 are 30, though its product with 100 is above 30; a true remainder counts."""
    state, mask = {"w": torch.arange(1.0, 101)[None]}, {"w": torch.ones(1, 100, dtype=torch.bool)}
    for steps in range(1, 100):
        assert kept(rule(state, mask, steps * 0.01), 0) == 100 - steps
    for steps in range(1, 10):
        assert kept(rule(state, mask, steps * 0.1), 0) == 100 - 10 * steps
    assert kept(rule(state, mask, 0.30001), 0) == 69
    assert kept(rule(state, mask, 1e-12), 0) == 99


def test_what_was_pruned_between_two_masks(state, whole):
    after = pruning.magnitude(state, whole, 0.3)
    gone = pruning.pruned(whole, after)
    assert all(torch.equal(gone[name], ~after[name]) for name in whole)
    with pytest.raises(ValueError, match="after keeps weights that before prunes"):
        pruning.pruned(after, whole)
    with pytest.raises(ValueError, match="same in some replicate; something must be pruned"):
        pruning.pruned(after, after)
    with pytest.raises(ValueError, match="states differ"):
        pruning.pruned(whole, {"linear.weight": after["linear.weight"]})


def test_masks_that_do_not_fit_are_named(net, state, whole):
    """By every function that takes a state and its mask, in one ValueError."""
    misspelt = {name.replace("linear.", "linaer."): keep for name, keep in whole.items()}
    rules = [pruning.magnitude, pruning.layerwise, pruning.random]
    for call in (pruning.apply, *(lambda s, m, rule=rule: rule(s, m, 0.5) for rule in rules)):
        with pytest.raises(ValueError, match="mask entry is 'linaer.weight', .*did you mean 'linear.weight'"):
            call(state, misspelt)
        with pytest.raises(ValueError, match=r"mask entry 'convolutions.0.weight' has shape \(2, .*it must be \(3, "):
            call(state, select(whole, [0, 1]))
        with pytest.raises(ValueError, match="has type torch.float32; it must be torch.bool"):
            call(state, {name: keep.float() for name, keep in whole.items()})
        with pytest.raises(ValueError, match="mask is empty"):
            call(state, {})
    for call in (lambda s: pruning.random(state, whole, 0.5, seed=s), lambda s: pruning.shuffle(whole, seed=s)):
        with pytest.raises(ValueError, match="seed is 0.5; it must be a whole number"):
            call(0.5)
    with pytest.raises(ValueError, match="mask entry 'w' has type torch.float32"):
        pruning.shuffle({"w": torch.ones(1, 3)})
    with pytest.raises(ValueError, match="state lacks the entry 'linear.bias'"):
        pruning.full(net, {name: tensor for name, tensor in state.items() if name != "linear.bias"})
    lost = {**state, "linear.weight": torch.full_like(state["linear.weight"], math.nan)}
    with pytest.raises(ValueError, match="state holds weights that are NaN"):
        pruning.magnitude(lost, whole, 0.5)


def test_random_replicates_are_seeded_one_by_one(state, whole):
    together = pruning.random(state, whole, 0.4, seed=11)
    for r in range(3):
        alone = pruning.random(select(state, [r]), select(whole, [r]), 0.4, seed=11 + r)
        assert all(torch.equal(together[name][r], alone[name][0]) for name in whole)
        assert kept(together, r) == kept(whole, r) - math.ceil(0.4 * kept(whole, r))
    assert not torch.equal(together["linear.weight"][0], together["linear.weight"][1])
    other = {name: -3 * tensor + 1 for name, tensor in state.items()}
    again = pruning.random(other, whole, 0.4, seed=11)
    assert all(torch.equal(again[name], together[name]) for name in whole)  # whatever the weights


def test_random_prunes_every_weight_equally_often_and_layers_together():
    mask = {"a": torch.ones(3000, 4).bool(), "b": torch.ones(3000, 2, 3).bool()}
    state = {name: torch.ones(keep.shape) for name, keep in mask.items()}
    pruned = pruning.random(state, mask, 0.3)
    rates = 1 - torch.cat([keep.flatten(1) for keep in pruned.values()], 1).double().mean(0)
    assert (rates - 0.3).abs().max() < 4 * math.sqrt(0.3 * 0.7 / 3000)
    assert len(set(counts(pruned)["a"])) > 2  # not so many of each layer


def test_shuffle_keeps_each_layers_count_at_random_places(state, whole):
    mask = pruning.magnitude(state, whole, 0.6)
    shuffled = pruning.shuffle(mask, seed=2)
    assert counts(shuffled) == counts(mask)
    alone = pruning.shuffle(select(mask, [1]), seed=3)
    for name, keep in mask.items():
        assert not torch.equal(shuffled[name], keep)
        assert torch.equal(shuffled[name][1], alone[name][0])
    same = {"w": torch.arange(10).expand(2000, 10) < 3}
    places = pruning.shuffle(same)["w"].double().mean(0)
    assert (places - 0.3).abs().max() < 4 * math.sqrt(0.3 * 0.7 / 2000)


@pytest.mark.parametrize("rule", [pruning.magnitude, pruning.layerwise, pruning.random])
def test_masks_are_nested_and_the_given_one_is_left_alone(state, whole, rule):
    mask = rule(state, whole, 0.5)
    before = {name: keep.clone() for name, keep in mask.items()}
    flipped = {name: -1 / tensor for name, tensor in state.items()}  # the ranking turned round
    after = rule(flipped, mask, 0.3)
    for name in mask:
        assert torch.equal(mask[name], before[name])
        assert not (after[name] & ~mask[name]).any()


def test_apply_gives_exact_zeros_and_touches_nothing_else(state, whole):
    mask = pruning.magnitude(state, whole, 0.5)
    bad = {**state, "linear.weight": torch.where(mask["linear.weight"], state["linear.weight"], math.nan)}
    before = {name: tensor.clone() for name, tensor in bad.items()}
    applied = pruning.apply(bad, mask)
    for name in state:
        expected = state[name] * mask[name] if name in mask else state[name]
        assert torch.equal(applied[name], expected)
        assert torch.allclose(bad[name], before[name], equal_nan=True)


@pytest.mark.parametrize("rule", [pruning.magnitude, pruning.layerwise, pruning.random])
@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, math.nan, math.inf])
def test_fraction_lies_strictly_between_0_and_1(state, whole, rule, fraction):
    with pytest.raises(ValueError, match=rf"fraction is {fraction}; it must be > 0 and < 1"):
        rule(state, whole, fraction)


def test_an_emptied_layer_is_named_with_its_replicate(state, whole):
    tiny = {**state, "convolutions.1.weight": state["convolutions.1.weight"].clone()}
    tiny["convolutions.1.weight"][1] *= 1e-6
    with pytest.raises(ValueError, match=r"fraction is 0.6, .*'convolutions.1.weight' of replicate 1 \(48 weights"):
        pruning.magnitude(tiny, whole, 0.6)
    one = {"w": torch.ones(2, 1).bool()}
    for rule in (pruning.magnitude, pruning.layerwise, pruning.random):
        with pytest.raises(ValueError, match=r"layer 'w' of replicate 0 \(1 weights"):
            rule({"w": torch.ones(2, 1)}, one, 0.01)  # ceil prunes one of one


def test_rules_take_any_prunable_selection(ds):
    net = networks.wrap(lambda: torch.nn.Linear(12, 3), "cpu", prunable=["bias"])
    state = net.init(2)
    mask = pruning.magnitude(state, pruning.full(net, state), 0.3)
    assert counts(mask) == {"bias": [2, 2]}
