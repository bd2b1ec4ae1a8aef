"""The room of chapter 6: which examples are kept, how rankings agree, and its experiments in the smoke preset."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
import twins

from lotterybook import experiment, records
from lotterybook.diet import examples, experiments, ranks, starts
from lotterybook.presets import PRESETS
from lotterybook.settings import ORDERS
from lotterylib import curvature, data, imp, landscape, limits, pruning, scores, training
from lotterylib.states import select

SMALL = 600  # test examples
FEW = 3.5 / SMALL  # examples on the boundary between two classes, which another way of computing moves
NAMES = "scores", "early_data", "pruned_data", "both", "landscape_of_data"


# Which examples


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_of_every_class_as_large_a_share_is_kept(ds, order, share):
    score = torch.rand(len(ds.train_y), generator=torch.Generator().manual_seed(1))
    kept = examples.choose(score, ds.train_y, share, order, seed=3).tolist()
    assert kept == sorted(set(kept))
    for label in range(3):
        own = [i for i, y in enumerate(ds.train_y.tolist()) if y == label]
        chosen = [i for i in kept if i in own]
        assert len(chosen) == max(1, round(share * len(own)))
        ranked = sorted(own, key=lambda i: float(score[i]), reverse=order == "hardest")
        if order != "random":
            assert chosen == sorted(ranked[: len(chosen)])


def test_random_examples_go_by_the_seed_and_not_by_the_score(ds):
    score = torch.arange(len(ds.train_y)).double()
    one, again, other = (
        examples.choose(s, ds.train_y, 0.3, "random", n) for s, n in ((score, 1), (-score, 1), (score, 2))
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": "hard"}, "order is 'hard', which is unknown; allowed are 'easiest', 'random', 'hardest'; did you"),
        ({"share": 1.5}, "share is 1.5; it must be > 0 and <= 1"),
        ({"share": 0}, "share is 0; it must be > 0"),
        ({"share": -0.1}, "share is -0.1; it must be > 0"),
        ({"share": "half"}, "share is 'half'; it must be a number"),
        ({"score": torch.ones(3)}, r"score has shape \(3,\); it must be \(240,\), one number for each label"),
        ({"score": torch.full((240,), torch.nan)}, "holds NaN"),
        ({"order": "random", "seed": -1}, "seed is -1"),
    ],
)
def test_a_choice_that_makes_no_sense_is_named(ds, changes, message):
    given = {"score": torch.ones(240), "labels": ds.train_y, "share": 0.5, "order": "easiest", **changes}
    with pytest.raises(ValueError, match=message):
        examples.choose(**given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": (0.5, 1.2)}, "share is 1.2; it must be > 0 and <= 1"),
        ({"both_shares": (0,)}, "share is 0"),
        ({"starts": ((25, "random", -0.5),)}, "share is -0.5"),
        ({"starts": ((25, "hard", 0.5),)}, "order is 'hard', which is unknown.*did you mean 'hardest'"),
        ({"both_orders": ("easy",)}, "order is 'easy'.*did you mean 'easiest'"),
        ({"mislabelled": 1}, "mislabelled is 1; it must be > 0 and < 1"),
        ({"score_step": 3}, "score_step is 3, which is unknown"),
        ({"score_replicates": 1}, "score_replicates is 1; it must be >= 2"),
    ],
)
def test_settings_that_make_no_sense_never_come_to_training(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PRESETS["book"].diet, **changes)


def test_a_subset_is_a_dataset_of_its_own(ds):
    rows = [5, 7, 200]
    some = experiment.subset(ds, rows)
    assert torch.equal(some.train_x, ds.train_x[rows]) and torch.equal(some.train_y, ds.train_y[rows])
    assert some.test_x is ds.test_x and torch.equal(some.mean, ds.mean) and some.num_classes == ds.num_classes
    assert torch.equal(some.gather([1])[0], ds.gather([7])[0]), "scaled as the whole set is"
    digests = {each.digest for each in (ds, some, experiment.subset(ds, [7, 5, 200]), experiment.subset(ds, [5, 7]))}
    assert len(digests) == 4, "nothing that was made from other examples, or another order of them, may be served"
    assert experiment.subset(ds, range(len(ds.train_y))).digest == ds.digest


def test_a_checkpoint_on_other_examples_is_not_taken_up(ds, net, tmp_path):
    recipe, first = training.Recipe(steps=4, batch_size=16, lr=0.1), experiment.subset(ds, range(100))
    second, state = experiment.subset(ds, range(100, 200)), net.init(1)
    ends = [training.train(net, state, some, recipe, checkpoint=tmp_path) for some in (first, second)]
    assert not torch.equal(*(end["linear.weight"] for end in ends))
    assert torch.equal(ends[1]["linear.weight"], training.train(net, state, second, recipe)["linear.weight"])


def test_training_on_a_subset_sees_no_other_example(ds, net):
    rows = examples.choose(torch.zeros(240), ds.train_y, 0.2, "random")
    others = torch.ones(240, dtype=torch.bool)
    others[rows] = False
    spoiled = dataclasses.replace(ds, train_x=ds.train_x.masked_fill(others[:, None], 1e6))
    recipe = training.Recipe(steps=20, batch_size=16, lr=0.1)
    ends = [training.train(net, net.init(1), experiment.subset(each, rows), recipe) for each in (ds, spoiled)]
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_replicates_share_the_ends_and_draw_in_groups(ds):
    score = torch.arange(240)
    ((one, rows),) = examples.portions(ds, score, 0.1, "hardest", [3, 4, 5])
    assert rows == [0, 1, 2] and torch.equal(
        one.train_y, ds.train_y[examples.choose(score, ds.train_y, 0.1, "hardest")]
    )
    drawn = list(examples.portions(ds, score, 0.1, "random", [3, 4, 5]))
    assert [rows for _, rows in drawn] == [[0, 1], [2]]
    for (some, _), seed in zip(drawn, (3, 5), strict=True):
        assert torch.equal(some.train_x, ds.train_x[examples.choose(score, ds.train_y, 0.1, "random", seed)])
    assert len(list(examples.portions(ds, score, 0.1, "random", [7]))) == 1


def test_a_pool_is_a_part_of_the_set_or_more_of_it(mnist1d, ds, monkeypatch):
    part = examples.pool(mnist1d, 600)
    assert len(part.train_y) == 600 and part.test_x is mnist1d.test_x
    assert len({tuple(row) for row in part.train_x.tolist()} & {tuple(row) for row in mnist1d.train_x.tolist()}) == 600
    assert examples.pool(mnist1d, 4000).digest == mnist1d.digest
    drawn = []

    def draw(seed):
        drawn.append(seed)
        return {
            "train_x": np.full((40, 40), seed, np.float32), "train_y": np.full(40, 1), "test_y": np.full(50, 2),
            "test_x": np.full((50, 40), -seed, np.float32),
        }  # fmt: skip

    monkeypatch.setattr(data, "mnist1d", draw)
    more = examples.pool(mnist1d, 4100)
    assert drawn == [1001, 1002] and 42 not in drawn, "none of the draw that the test set is of"
    assert len(more.train_y) == 4100 and torch.equal(more.train_x[:4000], mnist1d.train_x)
    assert more.train_x[4000:, 0].tolist() == [1001] * 40 + [-1001] * 50 + [1002] * 10
    assert more.train_y.dtype == torch.int64 and more.train_y[4000:].tolist() == [1] * 40 + [2] * 50 + [1] * 10
    assert torch.equal(more.mean, mnist1d.mean) and more.digest != mnist1d.digest
    with pytest.raises(ValueError, match="size is 241; it must be >= 1 and <= 240"):
        examples.pool(ds, 241)
    with pytest.raises(ValueError, match="size is 0"):
        examples.pool(mnist1d, 0)


def test_false_labels_are_other_labels(ds):
    noisy, wrong = examples.mislabelled(ds, 0.1, seed=2)
    changed = (noisy.train_y != ds.train_y).nonzero()[:, 0]
    assert torch.equal(changed, wrong) and len(wrong) == 24
    assert noisy.train_y.min() >= 0 and noisy.train_y.max() <= 2 and noisy.digest != ds.digest
    assert torch.equal(examples.mislabelled(ds, 0.1, seed=2)[1], wrong)
    assert not torch.equal(examples.mislabelled(ds, 0.1, seed=3)[1], wrong)
    for share in (0, 1, 1.5):
        with pytest.raises(ValueError, match="share is"):
            examples.mislabelled(ds, share)


# How rankings agree


def test_ranks_are_what_counting_gives():
    draw = np.random.default_rng(0)
    a, b, marked = draw.normal(size=30), draw.normal(size=30), [1, 4, 20]
    a[marked] += 1

    def place(values):
        return np.array([sum(other < value for other in values) for value in values])

    expected = np.corrcoef(place(a), place(b))[0, 1]
    assert float(ranks.correlation(torch.tensor(a), torch.tensor(b))) == pytest.approx(expected)
    assert float(ranks.correlation(torch.tensor(a), torch.tensor(a) ** 3)) == pytest.approx(1)
    others = [i for i in range(30) if i not in marked]
    wins = [a[i] > a[j] for i, j in itertools.product(marked, others)]
    both = torch.tensor(np.stack([a, b]))
    found = ranks.auc(both, torch.tensor(marked))
    assert float(found[0]) == pytest.approx(np.mean(wins)) and found.shape == (2,)
    assert float(ranks.auc(-both[0], torch.tensor(marked))) == pytest.approx(1 - np.mean(wins))
    top = sorted(range(30), key=lambda i: -a[i])[:3]
    assert float(ranks.precision(both[0], torch.tensor(marked))) == pytest.approx(len({*top} & {*marked}) / 3)
    perfect = torch.zeros(9).index_fill(0, torch.tensor([2, 5]), 1.0)
    assert ranks.auc(perfect, torch.tensor([2, 5])) == ranks.precision(perfect, torch.tensor([2, 5])) == 1


# Trainings on some of the examples


def test_levels_from_a_rewind_point_are_those_of_imp(ds, net, config, small_run):
    """From level 1 on, if the first mask is that of IMP: what differs is the momentum of level 0."""
    one = dataclasses.replace(config, rewind_step=5, levels=2)
    run, seeds = small_run.at(5), small_run.at(5).seeds
    path = list(starts.levels(net, ds, one, run.rewind, [5, 5], seeds, None))
    assert len(path) == 3 and [pruning.density(mask) for _, mask in path] == pytest.approx(run.densities[:3].tolist())
    expected = training.train(net, run.rewind, ds, config.recipe, None, 5, None, seeds)
    assert torch.equal(path[0][0]["linear.weight"], expected["linear.weight"])
    mask = pruning.magnitude(expected, pruning.full(net, expected), config.fraction)
    again = training.train(net, run.rewind, ds, config.recipe, mask, 5, None, seeds)
    assert all(torch.equal(tensor, again[name]) for name, tensor in path[1][0].items())
    measured = starts.measured(net, ds, [level.state for level in run.levels], points=3)
    assert torch.equal(measured["error"], run.errors[:, 0])
    line = landscape.error_barrier(net, run[0].state, run[1].state, ds.test_x, ds.test_y, points=3).height
    assert measured["barrier"][0].numpy() == pytest.approx(line.numpy(), abs=1.5 / len(ds.test_y))


def test_replicates_fed_on_their_own_are_runs_of_their_own(ds, net, config):
    one = dataclasses.replace(config, rewind_step=5, levels=1)
    portions = list(examples.portions(ds, torch.zeros(240), 0.5, "random", [config.seed, config.seed + 1]))
    found = starts.fed(net, portions, one, None)
    for some, (r,) in portions:
        run = imp.run(net, some, dataclasses.replace(one, replicates=1, seed=config.seed + r))
        for (state, mask), level in zip(found, run.levels, strict=True):
            assert all(torch.equal(state[name][[r]], tensor) for name, tensor in level.state.items())
            assert all(torch.equal(mask[name][[r]], keep) for name, keep in level.mask.items())


# The experiments


@pytest.fixture(scope="module")
def smoke(mnist1d, tmp_path_factory):
    """The setup of the smoke preset with a smaller test set, in folders of its own, and all records of the room."""
    ds = dataclasses.replace(mnist1d, test_x=mnist1d.test_x[:SMALL], test_y=mnist1d.test_y[:SMALL])
    folder = tmp_path_factory.mktemp("diet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOTTERYLIB_RUNS", str(folder / "runs"))
        patch.setattr(records, "PUBLISHED", folder / "records")
        patch.setattr(data, "load", lambda name, device="auto": {"mnist1d": ds}[name])
        experiment._setup.cache_clear()
        yield (
            experiment.setup("smoke", device="cpu"),
            {n: getattr(experiments, n)("smoke", device="cpu") for n in NAMES},
        )
    experiment._setup.cache_clear()


def plain_error(setup, model):
    return twins.error(model, setup.ds.test_x, setup.ds.test_y)


def test_scores_are_means_over_initializations_at_their_steps(smoke):
    setup, found = smoke[0], smoke[1]["scores"]
    about, recipe = setup.preset.diet, setup.preset.main.config.recipe
    state = setup.net().init(about.score_replicates, experiment.OTHER)
    assert [len(found[name]) for name in ("score", "mislabelled", "halves", "auc")] == [len(about.score_steps)] * 4
    for step, ds, name in ((10, setup.ds, "score"), (20, examples.mislabelled(setup.ds, 0.05, 1000)[0], "mislabelled")):
        after = training.train(setup.net(), state, ds, recipe, stop=step, order_seed=experiment.OTHER)
        each = scores.el2n(setup.net(), landscape.recalibrate(setup.net(), after, ds), ds)
        here = about.score_steps.index(step)
        assert found[name][here].numpy() == pytest.approx(each.mean.float().numpy(), abs=1e-4)
        if name == "score":
            assert found["spread"].numpy() == pytest.approx(each.std.float().numpy(), abs=1e-4)
            easy = setup.ds.train_y[each.mean.argsort()[:200]].bincount(minlength=10)
            assert (found["classes"][0] - easy).abs().sum() <= 2 and found["classes"].sum(1).tolist() == [200, 200]
        else:
            wrong = found["wrong"]
            assert float(found["auc"][here]) == pytest.approx(float(ranks.auc(each.mean, wrong)), abs=1e-3)
            assert found["auc_single"][here].numpy() == pytest.approx(ranks.auc(each.each, wrong).numpy(), abs=1e-3)
    assert (found["between"].diagonal() > 0.999).all() and found["between"].shape == (3, 3)


def test_starts_see_a_share_before_the_rewind_point_and_all_after_it(smoke):
    """One replicate of a random start and of an easy one, written out with plain modules: errors of levels 0 and 1."""
    setup, found = smoke[0], smoke[1]["early_data"]
    ds, config, about = setup.ds, setup.preset.main.config, setup.preset.diet
    score = experiments._ranking(setup)
    for number, r in ((0, 1), (1, 0)):
        step, order, share = about.starts[number]
        chosen = examples.choose(score, ds.train_y, share, order, config.seed + r)
        assert int(found["examples"][number]) == len(chosen) == pytest.approx(200, abs=3)
        torch.manual_seed(config.seed + r)
        model = setup.net().make()
        twins.sgd(model, experiment.subset(ds, chosen), config.recipe, config.seed + r, stop=step)
        rewind = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        mask = {name: torch.ones_like(rewind[name], dtype=torch.bool) for name in setup.net().prunable}
        for level in (0, 1):
            model.load_state_dict(rewind)
            twins.sgd(model, ds, config.recipe, config.seed + r, mask, start=step)
            # forty steps in another order of additions end near, not at, the same place
            assert abs(plain_error(setup, model) - float(found["error"][number, level, r])) < 0.06
            mask = twins.prune(model.state_dict(), mask, config.fraction)
    run = setup.run()
    assert found["all_step"].tolist() == [10, 20] and torch.equal(found["all_error"][0], run.at(10).errors[:3, 0])
    assert found["density"].tolist() == pytest.approx(run.densities[:3].tolist())


def test_dense_networks_on_all_examples_are_those_of_the_main_run(smoke):
    setup, found = smoke[0], smoke[1]["pruned_data"]
    assert found["size"].tolist()[1] == 4000 and torch.equal(found["full"][1], setup.run()[0].error[:2])
    assert found["examples"].tolist()[1] == [2000] and found["error"].shape == (2, 3, 1, 2)
    recipe, score = setup.preset.main.config.recipe, experiments._ranking(setup)
    some = experiment.subset(setup.ds, examples.choose(score, setup.ds.train_y, 0.5, "hardest"))
    again = setup.error(training.train(setup.net(), setup.net().init(2, 0), some, recipe, order_seed=[0, 1]))
    assert found["error"][1, 2, 0].numpy() == pytest.approx(again.numpy(), abs=FEW)


def test_both_prunes_weights_of_networks_on_a_share(smoke):
    setup, found = smoke[0], smoke[1]["both"]
    run = setup.run().at(10)
    assert torch.equal(found["all_error"], run.errors[:2, 0]) and found["order"].tolist() == [1, 2]
    heights = [setup.barrier(a.state, b.state).height for a, b in itertools.pairwise(run.levels[:2])]
    assert found["all_barrier"].numpy() == pytest.approx(torch.stack(heights).numpy(), abs=FEW)
    assert torch.equal(found["error"][1, 0, 0], smoke[1]["pruned_data"]["error"][1, 2, 0]), "the same dense networks"
    assert torch.equal(found["error"][0, 0, 0], smoke[1]["pruned_data"]["error"][1, 1, 0])
    assert found["examples"].tolist() == [2000]


def test_spectra_are_of_the_loss_on_what_was_trained_on(smoke):
    setup, found = smoke[0], smoke[1]["landscape_of_data"]
    about, recipe = setup.preset.diet, setup.preset.main.config.recipe
    some = experiment.subset(
        setup.ds, examples.choose(experiments._ranking(setup), setup.ds.train_y, 0.5, "hardest")
    )  # fmt: skip
    dense = training.train(setup.net(), setup.net().init(2, 0), some, recipe, order_seed=[0, 1])
    for name, ds, state in (("", some, dense), ("all_", setup.ds, select(setup.run()[0].state, [0, 1]))):
        x, y = ds.training_set()
        seen = curvature.spectrum(setup.net(), state, x, y, None, about.probes, about.iterations)
        largest, predicted, loss = (found[f"{name}{one}"] for one in ("largest", "predicted", "loss"))
        if not name:
            largest, predicted, loss = largest[1, 0], predicted[1, 0], loss[1, 0]
        assert largest[0].numpy() == pytest.approx(seen.eigenvalues.amax((1, 2)).numpy(), rel=1e-2)
        assert loss[0].numpy() == pytest.approx(training.evaluate(setup.net(), state, x, y)[0].numpy(), rel=1e-3)
        weights = curvature.weights(state, pruning.full(setup.net(), state))[1]
        values, shares = seen.nodes(1)
        for i, order in enumerate(limits.ORDERS):
            expected = limits.gordon_fraction(values, weights, 0.02, shares, order)
            assert float(predicted[i, 0, 1]) == pytest.approx(expected, abs=0.01)


def test_what_the_book_asks_for_costs_what_the_docstring_says():
    """Replicate-steps of all trainings; measuring takes a few percent more."""
    preset = PRESETS["book"]
    about, steps, k = preset.diet, preset.main.config.recipe.steps, preset.tickets.control_step
    ranked, fed = about.score_replicates * about.score_step, len(about.both_orders) * len(about.both_shares)
    trained = {
        "scores": 2 * about.score_replicates * max(about.score_steps) + ranked,
        "early_data": ranked
        + about.replicates * sum(first + (about.start_levels + 1) * (steps - first) for first, *_ in about.starts),
        "pruned_data": len(about.sizes) * (ranked + about.replicates * steps * (1 + len(ORDERS) * len(about.shares))),
        "both": ranked + about.replicates * fed * (steps + about.both_levels * (steps - k)),
    }
    told = {name: int(experiments.__doc__.split(f"``{name}`` ")[1].split(",")[0].split(" ")[0]) for name in trained}
    assert all(0.85 * told[name] < cost / 1000 <= told[name] for name, cost in trained.items()), trained
    assert sum(told.values()) + 70 <= 1200
    assert min(about.replicates, preset.main.config.replicates) >= 4 and about.score_replicates >= 10
    assert {first for first, *_ in about.starts} <= set(preset.main.config.rewind_step)
    assert max(about.start_levels, about.both_levels, *about.spectrum_levels) <= preset.main.config.levels
    least = min(min(about.sizes) * min(about.shares), 4000 * min(share for *_, share in about.starts))
    assert least >= preset.main.config.recipe.batch_size


def test_presets_without_a_diet_leave_the_chapter_out():
    for name, preset in PRESETS.items():
        assert (preset.diet is None) == (not set(NAMES) & set(experiment.experiments_of(name)))
