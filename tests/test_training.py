"""Training against plain PyTorch, and what the data order, the schedule, masks and divergence promise."""

import dataclasses
import itertools
import math

import pytest
import torch
import twins
from torch.testing import assert_close

from lotterylib import networks, order, pruning, sgd, store, training
from lotterylib.states import select

TIGHT = {"rtol": 1e-8, "atol": 1e-8}
RECIPE = training.Recipe(steps=100, batch_size=16, lr=0.1, momentum=0.9, weight_decay=5e-3)


def close(found, expected, **tolerance):
    """Assert that two states are close, entry by entry."""
    assert found.keys() == expected.keys()
    for name in expected:
        assert_close(found[name], expected[name], **(tolerance or TIGHT), msg=lambda text, name=name: f"{name}: {text}")


def equal(found, expected):
    """Assert that two states are the same to the last bit."""
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


def random_mask(net, state, fraction=0.4, seed=5):
    return pruning.random(state, pruning.full(net, state), fraction, seed)


def networks_and_data(ds, pictures, picture):
    """Every kind of network, each with a dataset that it takes, in float64."""
    made = {}
    for stacked in (True, False):
        for name, options in (("cnn1d", {"width": 4}), ("cnn1d_plain", {"width": 4}), ("mlp", {"hidden": (9, 5)})):
            net = networks.build(name, ds, **options)
            net.stacked = stacked
            made[name, stacked] = net, ds
        made["conv2d", stacked] = networks.wrap(picture, "cpu", stacked=stacked), pictures
    return made


KINDS = [(name, stacked) for name in ("cnn1d", "cnn1d_plain", "mlp", "conv2d") for stacked in (True, False)]


@pytest.fixture(scope="module")
def cases(ds, pictures, picture):
    return {kind: (net, twins.double(d)) for kind, (net, d) in networks_and_data(ds, pictures, picture).items()}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]}-{'stacked' if kind[1] else 'looped'}")
def test_training_is_plain_pytorch_for_every_replicate(cases, kind):
    net, ds = cases[kind]
    recipe = dataclasses.replace(RECIPE, steps=100 if kind[0] == "cnn1d" else 30)
    state = twins.double(net.init(2, seed=4))
    mask = random_mask(net, state)
    trained = training.train(net, state, ds, recipe, mask, order_seed=20)
    loss, error = training.evaluate(net, trained, ds.test_x, ds.test_y)
    for r in range(2):
        model = twins.module(net, state, r)
        twins.sgd(model, ds, recipe, 20 + r, twins.part(mask, r))
        close(twins.part(trained, r), model.state_dict())  # weights, running statistics and batch counters
        assert loss[r] == pytest.approx(twins.loss(model, ds.test_x, ds.test_y), rel=1e-8)
        assert error[r] == pytest.approx(twins.error(model, ds.test_x, ds.test_y), abs=1e-12)


@pytest.mark.parametrize("kind", [("cnn1d", True), ("conv2d", False)], ids=["stacked", "looped"])
def test_one_step_subtracts_the_gradient(cases, kind):
    net, ds = cases[kind]
    recipe = training.Recipe(steps=1, batch_size=32, lr=1.0, schedule="constant", momentum=0)
    state = twins.double(net.init(2, seed=0))
    after = training.train(net, state, ds, recipe, order_seed=[7, 3])
    for r, seed in enumerate((7, 3)):
        model = twins.module(net, state, r).train()
        x, y = next(twins.batches(ds, recipe, [seed]))
        torch.nn.functional.cross_entropy(model(x[0]), y[0]).backward()
        moved = {name: state[name][r] - after[name][r] for name in net.parameters}
        close(moved, {name: p.grad for name, p in model.named_parameters()})


@pytest.mark.parametrize("stacked", [True, False])
def test_a_replicate_gets_in_a_stack_what_it_gets_alone(ds, stacked):
    ds = twins.double(ds)
    net, alone = networks.build("cnn1d", ds, width=4), networks.build("cnn1d", ds, width=4)
    net.stacked = stacked
    state = twins.double(net.init(6, seed=1))  # on a CPU more than one stack
    mask = random_mask(net, state)
    together = training.train(net, state, ds, RECIPE, mask, order_seed=30)
    for r in range(6):
        single = training.train(alone, select(state, [r]), ds, RECIPE, select(mask, [r]), order_seed=30 + r)
        close(select(together, [r]), single)
    assert not torch.allclose(together["linear.weight"][0], together["linear.weight"][1])


def test_replicates_may_start_at_different_steps(ds, net):
    ds, recipe = twins.double(ds), dataclasses.replace(RECIPE, steps=40)
    state = twins.double(net.init(3, seed=1))
    mask = random_mask(net, state)
    starts, seeds = [6, 25, 7], [5, 6, 5]
    together = training.train(net, state, ds, recipe, mask, start=starts, order_seed=seeds)
    for r in range(3):
        model = twins.module(net, state, r)
        twins.sgd(model, ds, recipe, seeds[r], twins.part(mask, r), start=starts[r])
        close(twins.part(together, r), model.state_dict())


def test_training_in_two_pieces_of_a_trajectory(ds, net):
    """Points hold copies of the state on the way, and a fresh start from one has no momentum."""
    ds, recipe = twins.double(ds), dataclasses.replace(RECIPE, steps=20)
    state = twins.double(net.init(2, seed=1))
    points = list(training.trajectory(net, state, ds, recipe, at=(0, 8, 19), order_seed=2))
    assert [point.step for point in points] == [0, 8, 19, 20]
    equal(points[0].state, state)
    for point in points:
        close(point.state, training.train(net, state, ds, recipe, stop=point.step, order_seed=2))
    momentum = points[1].momentum
    assert set(momentum) == set(net.parameters) and all(m.abs().max() > 0 for m in momentum.values())
    restarted = training.train(net, points[1].state, ds, recipe, start=8, order_seed=2)
    model = twins.module(net, points[1].state, 1)
    twins.sgd(model, ds, recipe, 3, start=8)
    close(twins.part(restarted, 1), model.state_dict())
    assert not torch.allclose(restarted["linear.weight"], points[-1].state["linear.weight"])


# Data order


@pytest.fixture(scope="module")
def numbered(ds):
    """A dataset whose input is the example's number, so that a batch shows its indices."""
    x = torch.arange(50, dtype=torch.float32)[:, None]
    return dataclasses.replace(ds, train_x=x, train_y=torch.arange(50), mean=torch.tensor(0.0), std=torch.tensor(1.0))


def indices(ds, recipe, seeds, begin, count):
    stream = twins.batches(ds, recipe, seeds, begin)
    found = []
    for x, y in itertools.islice(stream, count):
        assert torch.equal(x[..., 0].long(), y)
        found.append(y)
    return torch.stack(found)  # (step, R, B)


def test_the_batch_at_a_step_does_not_depend_on_where_training_begins(numbered):
    recipe = training.Recipe(steps=100, batch_size=8)  # 6 batches an epoch, 2 examples dropped
    whole = indices(numbered, recipe, [4, 9], 0, 20)
    for begin in (1, 5, 6, 7, 13, 18):
        assert torch.equal(indices(numbered, recipe, [4, 9], begin, 20 - begin), whole[begin:])
    alone = indices(numbered, recipe, [9], 0, 20)
    assert torch.equal(alone[:, 0], whole[:, 1])


def test_every_epoch_is_a_fresh_permutation(numbered):
    order = indices(numbered, training.Recipe(steps=100, batch_size=8), [4, 5], 0, 6 * 40)
    epochs = order.unflatten(0, (40, 6)).transpose(1, 2).flatten(2)  # (epoch, R, 48)
    assert all(len(set(epoch.tolist())) == 48 for epoch in epochs.flatten(0, 1))
    assert len({tuple(epoch.tolist()) for epoch in epochs.flatten(0, 1)}) == 80  # no two alike, seeds included
    dropped = 80 - torch.bincount(epochs.flatten(), minlength=50)
    assert dropped.sum() == 160 and dropped.max() < 20  # 3.2 of each expected: not always the same two


def test_augmentation_belongs_to_the_step_and_the_seed(pictures):
    recipe = training.Recipe(steps=20, batch_size=32)  # 2 batches an epoch
    whole = list(itertools.islice(twins.batches(pictures, recipe, [4, 9]), 7))
    assert whole[0][0].shape == (2, 32, 3, 8, 8)
    for begin in (1, 2, 5):
        for (x, y), (u, v) in zip(whole[begin:], twins.batches(pictures, recipe, [4, 9], begin), strict=False):
            assert torch.equal(x, u) and torch.equal(y, v)
    for (x, _), (u, _) in zip(whole, twins.batches(pictures, recipe, [9]), strict=False):
        assert torch.equal(x[1], u[0])
    alike = dataclasses.replace(pictures, train_x=pictures.train_x[:1].expand_as(pictures.train_x))
    drawn = [x for batch, _ in itertools.islice(twins.batches(alike, recipe, [4, 9]), 5) for x in batch]
    assert not any(torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])  # other crops at every step
    plain = dataclasses.replace(pictures, augment=False)
    for (x, y), (u, v) in zip(whole, twins.batches(plain, recipe, [4, 9]), strict=False):
        assert torch.equal(y, v) and not torch.equal(x, u)  # the same examples, other pixels


def test_the_order_seed_is_one_number_or_one_per_replicate(ds, net):
    recipe = dataclasses.replace(RECIPE, steps=5)
    state = net.init(3)
    equal(
        training.train(net, state, ds, recipe, order_seed=8),
        training.train(net, state, ds, recipe, order_seed=torch.tensor([8, 9, 10])),
    )
    with pytest.raises(ValueError, match="order_seed has 2 entries.* 3"):
        training.train(net, state, ds, recipe, order_seed=[1, 2])
    with pytest.raises(ValueError, match="start has 2 entries.* 3"):
        training.train(net, state, ds, recipe, start=[1, 2])


# Schedules


def test_cosine_is_torchs():
    recipe = training.Recipe(steps=77, lr=0.3)
    assert [recipe.lr_at(t) for t in range(77)] == pytest.approx(twins.rates(recipe), rel=1e-9)
    assert recipe.lr_at(0) == 0.3 and recipe.lr_at(77) == pytest.approx(0, abs=1e-12)


def test_step_schedule_is_torchs():
    recipe = training.Recipe(steps=30, lr=0.4, schedule="step", drops=(10, 11, 25), drop=0.2)
    assert [recipe.lr_at(t) for t in range(30)] == pytest.approx(twins.rates(recipe), rel=1e-9)
    assert recipe.lr_at(9) == 0.4 and recipe.lr_at(10) == pytest.approx(0.08)


def test_constant_schedule_and_warmup():
    recipe = training.Recipe(steps=10, lr=0.8, schedule="constant", warmup=4)
    assert [recipe.lr_at(t) for t in range(10)] == pytest.approx([0.2, 0.4, 0.6, *[0.8] * 7])
    cosine = training.Recipe(steps=10, lr=0.8, warmup=4)
    assert cosine.lr_at(1) == pytest.approx(0.4)
    assert cosine.lr_at(4) == 0.8 and cosine.lr_at(7) == pytest.approx(0.4)  # the decay begins where the warm-up ends


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"steps": 0}, "steps is 0; it must be >= 1"),
        ({"steps": 2.5}, "steps is 2.5.*whole number"),
        ({"steps": True}, "steps is True"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"lr": 0}, "lr is 0; it must be > 0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"lr": math.inf}, "lr is inf; it must be > 0 and < inf"),
        ({"lr": "0.1"}, "lr is '0.1'; it must be a number"),
        ({"drops": (5,)}, r"drops are \(5,\); they need the schedule 'step', and it is 'cosine'"),
        ({"schedule": "step", "drops": (5,), "drop": -1}, "drop is -1; it must be > 0"),
        ({"schedule": "step", "drops": (2.5,)}, "drops is 2.5; it must be a whole number"),
        ({"nesterov": True, "momentum": 0}, "nesterov is True; it needs momentum"),
        ({"momentum": 1}, "momentum is 1; it must be >= 0 and < 1"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001"),
        ({"warmup": 11}, "warmup is 11; it must be >= 0 and <= 10"),
        ({"schedule": "cosin"}, "schedule is 'cosin'.*'constant', 'step'.*did you mean 'cosine'"),
    ],
)
def test_recipe_refuses(change, match):
    with pytest.raises(ValueError, match=match):
        training.Recipe(**{"steps": 10, **change})


def test_train_refuses_what_does_not_fit(ds, net):
    state = net.init(2)
    with pytest.raises(ValueError, match="stop is 101; it must be >= 0 and <= 100"):
        training.train(net, state, ds, RECIPE, stop=101)
    with pytest.raises(ValueError, match="start is 6; it must be >= 0 and <= 5"):
        training.train(net, state, ds, RECIPE, start=[1, 6], stop=5)
    with pytest.raises(ValueError, match="batch_size is 241; it must be >= 1 and <= 240"):
        training.train(net, state, ds, dataclasses.replace(RECIPE, batch_size=241))


# Masks


def test_masked_weights_are_exactly_zero_and_the_given_state_is_left_alone(ds, net):
    recipe = training.Recipe(steps=60, batch_size=16, lr=0.2, schedule="constant", momentum=0.9, weight_decay=1e-2)
    state = net.init(2, seed=1)
    mask = random_mask(net, state)
    before = {name: tensor.clone() for name, tensor in state.items()}
    for point in training.trajectory(net, state, ds, recipe, mask, at=(0, 1, 30)):
        for name, keep in mask.items():
            assert (point.state[name][~keep] == 0).all() and (point.momentum[name][~keep] == 0).all()
    assert all((point.state[name][keep] != before[name][keep]).all() for name, keep in mask.items())
    equal(state, before)
    assert all((before[name][~keep] != 0).any() for name, keep in mask.items())


def test_no_mask_is_the_full_mask(ds, net):
    recipe = dataclasses.replace(RECIPE, steps=5)
    state = net.init(2, seed=1)
    equal(
        training.train(net, state, ds, recipe),
        training.train(net, state, ds, recipe, {name: torch.ones_like(state[name]).bool() for name in net.prunable}),
    )


# Evaluation


def test_evaluation_is_that_of_plain_modules_over_many_chunks(ds, net):
    state = net.init(30, seed=2)  # 30 replicates: chunks of 68, the last of 28
    trained = training.train(net, state, ds, dataclasses.replace(RECIPE, steps=10), order_seed=0)
    loss, error = training.evaluate(net, trained, ds.test_x, ds.test_y)
    assert loss.dtype == error.dtype == torch.float64 and loss.shape == error.shape == (30,)
    for r in (0, 17, 29):
        model = twins.module(net, trained, r)
        assert loss[r] == pytest.approx(twins.loss(model, ds.test_x, ds.test_y), rel=1e-5)
        assert error[r] == pytest.approx(twins.error(model, ds.test_x, ds.test_y), abs=1e-9)
    assert error.unique().numel() > 5


def test_an_error_of_nan_is_not_a_guess(ds, net):
    state = net.init(2)
    state["linear.bias"][1, 0] = math.nan
    loss, error = training.evaluate(net, state, ds.test_x, ds.test_y)
    assert loss.isnan().tolist() == error.isnan().tolist() == [False, True]


# Divergence


def explosive(ds, net, steps=30):
    """Three replicates of a network without BatchNorm, the second of which is about to explode."""
    recipe = training.Recipe(steps=steps, batch_size=16, lr=0.05, schedule="constant", momentum=0.9)
    state = net.init(3, seed=1)
    for name in net.prunable:
        state[name][1] *= 1e4
    return recipe, state


def test_divergence_names_step_and_replicate_and_spares_the_others(ds):
    net = networks.build("cnn1d_plain", ds, width=4)
    recipe, state = explosive(ds, net)
    losses = twins.sgd(twins.module(net, state, 1), ds, recipe, 11)
    step = next(t for t, loss in enumerate(losses) if not math.isfinite(loss))
    assert 0 < step < 30, "the test's own premise: it explodes on the way"
    with pytest.raises(training.Diverged, match=rf"replicate 1 at step {step}\b.*Lower lr \(it is 0.05\)") as caught:
        training.train(net, state, ds, recipe, order_seed=10)
    assert caught.value.steps == {1: step}
    sound = training.train(net, select(state, [0, 2]), ds, recipe, order_seed=[10, 12])
    close(select(caught.value.state, [0, 2]), sound, rtol=1e-4, atol=1e-5)


def test_divergence_of_a_mask_and_several_replicates(ds, net):
    """NaN in two replicates, one of which starts later: each is named with the first step that it trains."""
    state = net.init(3)
    state["linear.weight"][0, 0, 0] = math.inf
    state["linear.weight"][2, 0, 0] = math.nan
    recipe = dataclasses.replace(RECIPE, steps=9)
    with pytest.raises(training.Diverged, match="replicate 0 at step 2, replicate 2 at step 4") as caught:
        training.train(net, state, ds, recipe, start=[2, 2, 4])
    assert caught.value.steps == {0: 2, 2: 4}
    sound = training.train(net, select(state, [1]), ds, recipe, start=2, order_seed=2)
    close(select(caught.value.state, [1]), sound, rtol=1e-4, atol=1e-5)


def test_a_last_update_that_diverges_is_noticed(ds, net):
    """Its result meets no loss any more: every loss is finite, the weights are not."""
    recipe = training.Recipe(1, batch_size=16, lr=1e38, schedule="constant", momentum=0.0, weight_decay=1e5)
    with pytest.raises(training.Diverged, match="replicate 0 at step 0, replicate 1 at step 0") as caught:
        training.train(net, net.init(2), ds, recipe)
    assert caught.value.steps == {0: 0, 1: 0} and not caught.value.state["linear.weight"].isfinite().all()


# Interruption


class Stopped(BaseException):
    """What comes when somebody presses Ctrl-C."""


def interrupt(monkeypatch, after):
    """Let training stop after that many steps of the first stack; returns the list of those that it made."""
    original, trained = sgd.Group.update, []

    def stopping(group):
        if group.rows[0] == 0:
            if len(trained) == after:
                raise Stopped
            trained.append(group.begin + int(group.row))
        original(group)

    monkeypatch.setattr(sgd.Group, "update", stopping)
    monkeypatch.setattr(training, "EVERY", 0)
    monkeypatch.setitem(order.SPAN, "cpu", 3)
    return trained


@pytest.mark.parametrize("after", [0, 1, 17, 39])
def test_interrupted_training_goes_on_to_the_identical_result(ds, net, tmp_path, monkeypatch, after):
    recipe, file = dataclasses.replace(RECIPE, steps=40), tmp_path / "deep"
    state = net.init(2, seed=1)
    arguments = (net, state, ds, recipe, random_mask(net, state), [0, 11])
    expected = training.train(*arguments)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        interrupt(patch, after)
        training.train(*arguments, checkpoint=file)
    with monkeypatch.context() as patch:
        trained = interrupt(patch, 10**6)
        equal(training.train(*arguments, checkpoint=file), expected)
        assert sorted(set(trained)) == list(range(trained[0], 40)) and after - 4 <= trained[0] <= after
    with monkeypatch.context() as patch:
        trained = interrupt(patch, 0)
        equal(training.train(*arguments, checkpoint=file), expected)  # finished: nothing is trained again
        assert not trained


@pytest.mark.parametrize("change", ["order_seed", "recipe", "mask", "state", "start", "stop", "data", "network"])
def test_a_checkpoint_of_another_training_is_not_used(ds, net, tmp_path, change):
    recipe, file = dataclasses.replace(RECIPE, steps=10), tmp_path / "t"
    state = net.init(2, seed=1)
    mask = random_mask(net, state)
    state = pruning.apply(state, mask)  # so that only the mask says whether its zeros stay
    given = {"net": net, "state": state, "ds": ds, "recipe": recipe, "mask": mask, "order_seed": 3}
    training.train(**given, checkpoint=file)
    other = {
        "order_seed": {"order_seed": [3, 5]},
        "recipe": {"recipe": dataclasses.replace(recipe, lr=0.11)},
        "mask": {"mask": None},
        "state": {"state": net.init(2, seed=2)},
        "start": {"start": [0, 1]},
        "stop": {"stop": 9},
        "data": {"ds": dataclasses.replace(ds, train_y=(ds.train_y + 1) % 3)},
        "network": {"net": networks.wrap(net.make, "cpu", prunable=["linear.weight"]), "mask": None},
    }[change]
    kept = {path: path.read_bytes() for path in file.glob("*/training.safetensors")}
    found = training.train(**{**given, **other}, checkpoint=file)
    assert len(kept) == 1 and all(path.read_bytes() == before for path, before in kept.items())
    equal(found, training.train(**{**given, **other}))


def test_a_diverged_training_stays_diverged_when_it_is_taken_up_again(ds, tmp_path):
    net = networks.build("cnn1d_plain", ds, width=4)
    recipe, state = explosive(ds, net)
    caught = []
    for _ in range(2):
        with pytest.raises(training.Diverged) as error:
            training.train(net, state, ds, recipe, order_seed=10, checkpoint=tmp_path / "t")
        caught.append(error.value)
    assert caught[0].steps == caught[1].steps and str(caught[0]) == str(caught[1])
    equal(select(caught[1].state, [0, 2]), select(caught[0].state, [0, 2]))
    (path,) = tmp_path.glob("t/*/training.safetensors")
    assert store.read(path)[1]["step"] == 30
