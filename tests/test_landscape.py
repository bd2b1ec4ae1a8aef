"""Barriers, paths and planes against analytic landscapes and plain loops."""

import dataclasses

import numpy as np
import pytest
import torch
import twins
from torch import nn
from torch.testing import assert_close

from lotterylib import landscape, networks, training
from lotterylib.states import select

# Analytic landscapes: functions of a state with the single entry x (R, 1)


def at(*x):
    return {"x": torch.tensor(x, dtype=torch.float64)[:, None]}


def quadratic(state):
    return state["x"][:, 0] ** 2


def double_well(state):
    return (state["x"][:, 0] ** 2 - 1) ** 2


def tilted(tilt):
    return lambda state: double_well(state) + torch.as_tensor(tilt, dtype=torch.float64) * state["x"][:, 0]


def test_no_barrier_in_a_bowl():
    b = landscape.barrier(quadratic, at(-1.0, -3.0, 0.0), at(1.0, 2.0, 0.0))
    assert b.height.tolist() == [0, 0, 0]
    assert b.curve.shape == (30, 3) and b.gamma.shape == (30,)
    x = b.gamma[:, None] * torch.tensor([-1.0, -3, 0]) + (1 - b.gamma[:, None]) * torch.tensor([1.0, 2, 0])
    assert_close(b.curve, x**2)
    assert b.gamma[0] == 0 and b.gamma[-1] == 1


@pytest.mark.parametrize("definition", landscape.DEFINITIONS)
def test_the_double_well_has_height_one(definition):
    b = landscape.barrier(double_well, at(-1.0, 1.0), at(1.0, 1.0), points=31, definition=definition)
    assert b.height.tolist() == pytest.approx([1, 0], abs=1e-12)
    upside_down = landscape.barrier(lambda s: -double_well(s), at(-1.0), at(1.0), points=31, definition=definition)
    assert upside_down.height.tolist() == [0]


def test_definitions_differ_on_a_tilted_well():
    """Above the chord the height is (x^2 - 1)^2 whatever the tilt; above the mean it is the top of the curve."""
    tilts = [0.0, 0.2, -0.6, 1.2]
    ends = at(*[-1.0] * 4), at(*[1.0] * 4)
    line = landscape.barrier(tilted(tilts), *ends, points=4001)
    assert line.height.tolist() == pytest.approx([1] * 4, abs=1e-9)
    mean = landscape.barrier(tilted(tilts), *ends, points=4001, definition="mean")
    for tilt, found in zip(tilts, mean.height.tolist(), strict=True):
        stationary = [x.real for x in np.roots([4, 0, -4, tilt]) if abs(x.imag) < 1e-12 and -1 <= x.real <= 1]
        top = max((x**2 - 1) ** 2 + tilt * x for x in (*stationary, -1, 1))
        assert found == pytest.approx(top, abs=1e-6)  # the mean of the ends is 0
    assert landscape.barrier(double_well, *ends).height[0] < 1  # 30 points miss the very top, and the default is 30


def test_the_lines_definition_on_uneven_ends():
    """Between x = -1 and x = 1.5 of a double well: the smallest epsilon that keeps the curve under the chord."""
    found = landscape.barrier(double_well, at(1.5), at(-1.0), points=3001).height.item()
    slope = 1.5625 / 2.5
    top = min(np.roots([4, 0, -4, -slope]).real, key=abs)  # where the curve is as steep as the chord
    assert found == pytest.approx((top**2 - 1) ** 2 - slope * (top + 1), abs=1e-6) and found > 0.3
    mean = landscape.barrier(double_well, at(1.5), at(-1.0), points=3001, definition="mean").height.item()
    assert mean == pytest.approx(1.5625 / 2)


@pytest.mark.parametrize("definition", landscape.DEFINITIONS)
def test_barriers_are_symmetric_and_never_negative(definition):
    a, b = torch.randn(2, 50, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    function = tilted(0.3)
    there = landscape.barrier(function, {"x": a}, {"x": b}, definition=definition)
    back = landscape.barrier(function, {"x": b}, {"x": a}, definition=definition)
    assert_close(there.height, back.height, rtol=1e-12, atol=1e-12)
    assert_close(there.curve, back.curve.flip(0))
    assert (there.height >= 0).all() and (there.height > 0.1).any()


def test_bad_arguments():
    for points in (1, 0, 2.5):
        with pytest.raises(ValueError, match=f"points is {points}"):
            landscape.barrier(quadratic, at(0.0), at(1.0), points=points)
    with pytest.raises(ValueError, match="definition is 'max'.*'line', 'mean'"):
        landscape.barrier(quadratic, at(0.0), at(1.0), definition="max")


# Networks


RECIPE = training.Recipe(steps=40, batch_size=16, lr=0.2)


@pytest.fixture(scope="module")
def ds64(ds):
    return twins.double(ds)


@pytest.fixture(scope="module")
def trained(ds64, net):
    """Three independent trainings of three replicates, in float64: states with barriers between them."""
    return [
        training.train(net, twins.double(net.init(3, seed=10 * i)), ds64, RECIPE, stop=40 - i, order_seed=10 * i)
        for i in range(3)
    ]


def mixture(a, b, gamma, r):
    """gamma a + (1 - gamma) b of one replicate, every entry but the batch counters."""
    return {
        name: gamma * a[name][r] + (1 - gamma) * b[name][r] if a[name].is_floating_point() else a[name][r] for name in a
    }


def errors_along(net, a, b, ds, points, r):
    """A loop of load_state_dict over a plain module."""
    model, found = net.make().double(), []
    for i in range(points):
        model.load_state_dict(mixture(a, b, i / (points - 1), r))
        found.append(twins.error(model, ds.test_x, ds.test_y))
    return np.array(found)


def test_error_barrier_is_a_loop_over_plain_modules(net, trained, ds64):
    a, b, _ = trained
    found = landscape.error_barrier(net, a, b, ds64.test_x, ds64.test_y, points=7)
    for r in range(3):
        curve = errors_along(net, a, b, ds64, 7, r)
        assert np.allclose(found.curve[:, r], curve, rtol=0, atol=1e-12)
        chord = np.linspace(curve[0], curve[-1], 7)
        assert float(found.height[r]) == pytest.approx(max(curve - chord), abs=1e-12)
    assert found.height.min() > 0.02, "the test's own premise: there are barriers"
    assert_close(found.curve[-1], landscape.error(net, a, ds64.test_x, ds64.test_y), rtol=0, atol=1e-12)
    mean = landscape.error_barrier(net, a, b, ds64.test_x, ds64.test_y, 7, "mean")
    assert_close(mean.height, found.curve.max(0).values - (found.curve[0] + found.curve[-1]) / 2)
    back = landscape.error_barrier(net, b, a, ds64.test_x, ds64.test_y, points=7)
    assert_close(back.height, found.height, rtol=0, atol=1e-12)


def test_a_state_has_no_barrier_to_itself(net, trained, ds):
    state = {name: t.float() if t.is_floating_point() else t for name, t in trained[0].items()}
    for definition in landscape.DEFINITIONS:
        b = landscape.error_barrier(net, state, state, ds.test_x, ds.test_y, definition=definition)
        assert b.height.tolist() == [0, 0, 0]
        assert (b.curve == landscape.error(net, state, ds.test_x, ds.test_y)).all()


def test_interpolation_takes_running_statistics_and_keeps_counters(trained):
    a, b, _ = trained
    quarter = landscape.interpolate(a, b, 0.25)
    for r in range(3):
        assert_close(twins.part(quarter, r), mixture(a, b, 0.25, r))
    assert torch.equal(quarter["norms.0.num_batches_tracked"], a["norms.0.num_batches_tracked"])
    assert not torch.equal(a["norms.0.num_batches_tracked"], b["norms.0.num_batches_tracked"])
    assert not torch.allclose(quarter["norms.0.running_var"], a["norms.0.running_var"])
    for gamma, end in ((1.0, a), (0.0, b)):
        exact = landscape.interpolate(a, b, gamma)
        assert all(torch.equal(exact[name], end[name]) for name in a if a[name].is_floating_point())


def test_loss_and_error_are_those_of_plain_modules(net, trained, ds64):
    loss, error = training.evaluate(net, trained[1], ds64.test_x, ds64.test_y)
    assert torch.equal(landscape.error(net, trained[1], ds64.test_x, ds64.test_y), error)
    for r in range(3):
        model = twins.module(net, trained[1], r)
        assert float(loss[r]) == pytest.approx(twins.loss(model, ds64.test_x, ds64.test_y), rel=1e-9)
        assert float(error[r]) == pytest.approx(twins.error(model, ds64.test_x, ds64.test_y), abs=1e-12)


def test_all_pairs_are_the_single_barriers(net, trained, ds64):
    x, y, counted = ds64.test_x, ds64.test_y, []

    def measured(state):
        counted.append(state)
        return landscape.error(net, state, x, y)

    found = landscape.all_pairs(measured, trained, points=4)
    assert found.shape == (3, 3, 3)
    assert torch.equal(found, found.transpose(0, 1)) and (found.diagonal() == 0).all()
    assert len(counted) == 3 + 3 * 2, "each state once, and two places inside each of three lines"
    for i, j in ((0, 1), (0, 2), (1, 2)):
        single = landscape.error_barrier(net, trained[i], trained[j], x, y, points=4).height
        assert_close(found[i, j], single, rtol=0, atol=1e-12)
    mean = landscape.all_pairs(measured, trained[:2], points=4, definition="mean")
    assert_close(mean[1, 0], landscape.error_barrier(net, *trained[:2], x, y, 4, "mean").height, rtol=0, atol=1e-12)
    assert not torch.equal(found[0, 1], mean[0, 1])


def test_a_path_runs_through_the_states_in_order(net, trained, ds64):
    x, y = ds64.test_x, ds64.test_y
    position, error = landscape.path(net, trained, x, y, points=5)
    assert position.tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2])
    assert error.shape == (9, 3)
    for corner, state in enumerate(trained):
        assert_close(error[4 * corner], landscape.error(net, state, x, y), rtol=0, atol=1e-12)
    for r in range(3):
        first, second = (errors_along(net, trained[i + 1], trained[i], ds64, 5, r) for i in (0, 1))
        assert np.allclose(error[:, r], [*first, *second[1:]], rtol=0, atol=1e-12)


def test_distance_is_euclidean_over_the_parameters(net, trained):
    a, b, _ = trained
    found = landscape.distance(net, a, b)
    for r in range(3):
        difference = np.concatenate([(a[n][r] - b[n][r]).flatten() for n in net.parameters])
        assert float(found[r]) == pytest.approx(np.linalg.norm(difference), rel=1e-12)


def different(state):
    """States that do not fit, with the entry that must be named."""
    first = next(iter(state))
    return [
        (select(state, [0, 1]), rf"{first}' is \(3, .*in the first and \(2, .*numbers of replicates"),
        ({n: t for n, t in state.items() if n != "linear.bias"}, "'linear.bias' is only in the first"),
        ({**state, "extra": torch.zeros(3)}, "'extra' is only in the second"),
        ({**state, "linear.weight": state["linear.weight"][..., :-1], "linear.bias": state["linear.bias"][:, 1:]},
         r"'linear.weight' is \(3, 3, 8\) in the first and \(3, 3, 7\)"),
    ]  # fmt: skip


def test_a_state_of_another_network_is_named(net, trained, ds64):
    x, y = ds64.test_x, ds64.test_y
    for other in [state for state, _ in different(trained[0])[1:]]:
        for call in (landscape.error, training.evaluate):
            with pytest.raises(ValueError, match="state (lacks the )?entry ('linear|is 'extra')"):
                call(net, other, x, y)
        for call in (
            lambda other=other: landscape.recalibrate(net, other, ds64),
            lambda other=other: landscape.distance(net, other, other),
            lambda other=other: landscape.plane(net, other, other, other, ds64),
        ):
            with pytest.raises(ValueError, match="state (lacks the )?entry ('linear|is 'extra')"):
                call()
    with pytest.raises(ValueError, match=r"y has shape \(300, 1\)"):
        landscape.error(net, trained[0], x, y[:, None])
    with pytest.raises(ValueError, match="batch_size is 0"):
        landscape.recalibrate(net, trained[0], ds64, 0)
    with pytest.raises(ValueError, match="number of states is 0"):
        landscape.all_pairs(len, [])
    with pytest.raises(ValueError, match="margin is -1"):
        landscape.plane(net, *trained, ds64, margin=-1)


def test_states_that_do_not_fit_are_named(net, trained, ds64):
    x, y = ds64.test_x, ds64.test_y
    for other, match in different(trained[0]):
        for call in (
            lambda other=other: landscape.error_barrier(net, trained[0], other, x, y, points=2),
            lambda other=other: landscape.plane(net, trained[0], other, trained[1], ds64, steps=2),
            lambda other=other: landscape.plane(net, trained[0], trained[1], other, ds64, steps=2),
            lambda other=other: landscape.distance(net, trained[0], other),
        ):
            with pytest.raises(ValueError, match=match):
                call()
        with pytest.raises(ValueError, match="states differ"):
            landscape.path(net, [trained[0], other], x, y, points=2)
        with pytest.raises(ValueError, match="states differ"):
            landscape.all_pairs(lambda state: torch.zeros(3), [trained[0], other], points=2)


# BatchNorm statistics measured anew


@pytest.mark.parametrize("batch_size", [240, 100, 7])
def test_recalibration_is_the_average_over_batches_of_a_plain_module(net, trained, ds64, batch_size):
    state = trained[0]
    before = {name: tensor.clone() for name, tensor in state.items()}
    found = landscape.recalibrate(net, state, ds64, batch_size)
    for r in range(3):
        expected = twins.recalibrated(twins.module(net, state, r), ds64, batch_size)
        assert len(expected) == 6
        for name, value in expected.items():
            assert_close(found[name][r], value, rtol=1e-9, atol=1e-12)
    for name in state:
        assert torch.equal(state[name], before[name])
        if not name.endswith(("running_mean", "running_var")):
            assert torch.equal(found[name], state[name])
    assert all(m.momentum == 0.1 for m in net.module.modules() if isinstance(m, nn.BatchNorm1d))
    again = landscape.recalibrate(net, found, ds64, batch_size)
    assert_close(again, found)  # what they were before does not matter


def test_recalibration_of_a_wrapped_network_does_not_augment(pictures, picture):
    ds, net = twins.double(pictures), networks.wrap(picture, "cpu", stacked=False)
    state = twins.double(net.init(2))
    found = landscape.recalibrate(net, state, ds, 40)
    for r in range(2):
        for name, value in twins.recalibrated(twins.module(net, state, r), ds, 40).items():
            assert_close(found[name][r], value, rtol=1e-9, atol=1e-12)


class Normed(nn.Module):
    """BatchNorm of any kind between two linear layers."""

    def __init__(self, **options):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(12, 5), nn.BatchNorm1d(5, **options), nn.Linear(5, 3)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        if self.training:
            self.steps.add_(1)
        return self.last(torch.relu(self.norm(self.first(x))))


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("momentum", [0.0, None, 0.03, 1.0])
def test_recalibration_does_not_depend_on_momentum(ds64, momentum, stacked):
    """0 would keep the statistics for ever, None averages over all batches, and frozen weights are no statistics."""

    def make():
        made = Normed(momentum=momentum)
        nn.init.normal_(made.norm.weight).requires_grad_(False)
        return made

    net = networks.wrap(make, "cpu", stacked=stacked)
    state = twins.double(net.init(2, seed=4))
    found = landscape.recalibrate(net, state, ds64, 100)
    for r in range(2):
        expected = twins.recalibrated(twins.module(net, state, r), ds64, 100)
        assert len(expected) == 2
        for name, value in expected.items():
            assert_close(found[name][r], value, rtol=1e-9, atol=1e-12)
    for name in found.keys() - expected.keys():
        assert torch.equal(found[name], state[name]), name
    assert net.module.norm.momentum == momentum
    logits = net(state, ds64.test_x)  # computed as before: the network's own module is as it was
    landscape.recalibrate(net, state, ds64, 100)
    assert torch.equal(net(state, ds64.test_x), logits)


def test_without_running_statistics_nothing_is_recalibrated(ds64):
    net = networks.wrap(lambda: Normed(track_running_stats=False), "cpu")
    state = twins.double(net.init(2))
    found = landscape.recalibrate(net, state, ds64)
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_without_batchnorm_nothing_is_recalibrated(ds):
    net = networks.build("cnn1d_plain", ds, width=4)
    state = net.init(2)
    found = landscape.recalibrate(net, state, ds)
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


# Planes


def flat(net, state, r):
    return np.concatenate([state[name][r].flatten() for name in net.parameters])


@pytest.mark.parametrize("batchnorm", [True, False])
def test_a_plane_is_what_numpy_makes_of_it(ds64, net, trained, batchnorm):
    states = trained
    if not batchnorm:
        net = networks.build("mlp", ds64, hidden=(5,))
        states = [twins.double(net.init(3, seed=7 * i)) for i in range(3)]
    drawn = landscape.plane(net, *states, ds64, steps=3, margin=0.5)
    assert drawn.error.shape == (3, 3, 3) and drawn.horizontal.shape == drawn.vertical.shape == (3, 3)
    assert drawn.corners.shape == (3, 2, 3)
    for r in range(3):
        origin, first, second = (flat(net, state, r) for state in states)
        corners = drawn.corners[:, :, r].numpy()
        for i, j, one, two in ((0, 1, origin, first), (0, 2, origin, second), (1, 2, first, second)):
            assert np.linalg.norm(corners[i] - corners[j]) == pytest.approx(np.linalg.norm(one - two), rel=1e-9)
        low, high = corners.min(0), corners.max(0)
        for axis, values in enumerate((drawn.horizontal[:, r], drawn.vertical[:, r])):
            extent = high[axis] - low[axis]
            expected = [low[axis] - 0.5 * extent, (low + high)[axis] / 2, high[axis] + 0.5 * extent]
            assert values.tolist() == pytest.approx(expected, rel=1e-9)
        basis = (first - origin) / np.linalg.norm(first - origin)
        across = second - origin - ((second - origin) @ basis) * basis
        basis = basis, across / np.linalg.norm(across)
        for row, column in ((0, 2), (1, 1), (2, 0)):
            point = origin + float(drawn.horizontal[column, r]) * basis[0] + float(drawn.vertical[row, r]) * basis[1]
            model = twins.module(net, states[0], r)
            nn.utils.vector_to_parameters(torch.from_numpy(point), model.parameters())
            if batchnorm:  # 240 examples: one batch
                model.load_state_dict({**model.state_dict(), **twins.recalibrated(model, ds64, 240)})
            expected = twins.error(model, ds64.test_x, ds64.test_y)
            assert float(drawn.error[row, column, r]) == pytest.approx(expected, abs=1e-12)
    assert drawn.error.unique().numel() > 9


def test_corners_of_the_plane_are_on_its_grid_without_a_margin(ds64, net, trained):
    drawn = landscape.plane(net, *trained, ds64, steps=2, margin=0)
    for r in range(3):
        assert drawn.horizontal[0, r] <= 0 <= drawn.horizontal[1, r] and drawn.vertical[0, r] == 0
        if drawn.corners[2, 0, r] > 0:  # the origin is then the grid's lower left corner
            recalibrated = landscape.recalibrate(net, trained[0], ds64)
            assert drawn.error[0, 0, r] == landscape.error(net, recalibrated, ds64.test_x, ds64.test_y)[r]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0.5, 0.3, -1.7, 1.0, 0.0])
def test_three_states_on_a_line_make_no_plane(ds, dtype, gamma):
    """In float32 they are on it up to rounding, which a network of some size must not take for a direction."""
    net = networks.build("mlp", ds, hidden=(150, 150))
    for seed in range(6):
        a, b = ({n: t.to(dtype) for n, t in net.init(1, s).items()} for s in (seed, 10 + seed))
        between = {n: gamma * a[n] + (1 - gamma) * b[n] for n in a}
        with pytest.raises(ValueError, match="not on a line"):
            landscape.plane(net, b, a, between, ds, steps=2)


def test_the_first_two_states_of_a_plane_differ(ds64, net, trained):
    with pytest.raises(ValueError, match="origin and first are the same"):
        landscape.plane(net, trained[0], trained[0], trained[1], ds64, steps=2)


def test_the_plane_notices_one_replicate_on_a_line(ds64, net, trained):
    a, b, c = trained
    c = {name: tensor.clone() for name, tensor in c.items()}
    for name in net.parameters:
        c[name][1] = 2 * a[name][1] - b[name][1]
    with pytest.raises(ValueError, match="not on a line"):
        landscape.plane(net, a, b, c, ds64, steps=2)


def test_augmented_data_is_recalibrated_the_same_every_time(pictures, picture):
    net = networks.wrap(picture, "cpu")
    state = net.init(2)
    plain = landscape.recalibrate(net, state, dataclasses.replace(pictures, augment=False))
    assert_close(landscape.recalibrate(net, state, pictures), plain, rtol=0, atol=0)
