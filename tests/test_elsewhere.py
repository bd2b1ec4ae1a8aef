"""What a GPU would refuse, on the CPU: every experiment and every chapter on a pretended device."""

import copy
import dataclasses
import functools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from elsewhere import KINDS, Graph, Race, Stream, machine, move
from torch import nn
from torch.testing import assert_close

from lotterybook import claims, experiment
from lotterybook.limits import figures as limits_figures
from lotterybook.limits import measures, wells
from lotterybook.presets import PRESETS
from lotterybook.retraining import magnitudes, weight_changes
from lotterybook.robustness import displacements
from lotterybook.tickets import figures
from lotterylib import curvature, data, landscape, networks, perturbation, pruning, sgd, training, trial
from lotterylib.states import length

# All that is said here of the book's own modules: how a preset's experiments are run, and where they lie.
EXPERIMENTS, RUNS = tuple(claims.experiments_of("smoke")), "LOTTERYLIB_RUNS"
RUN = {name: functools.partial(experiment.recorded, name) for name in EXPERIMENTS}  # (preset, device=...) -> record
SETUP, FORGET = experiment.setup, experiment._setup.cache_clear
CHAPTERS = sorted((Path(__file__).resolve().parent.parent / "chapters").glob("0*_*.ipynb"))
SMOKE = PRESETS["smoke"]
QUICK = "winning_tickets", "successive_barriers"  # experiments that run with every `make test`

# The pretended device itself


@pytest.fixture(params=KINDS)
def there(request):
    with machine(request.param) as device:
        yield device


def refused(function, *arguments):
    with pytest.raises(RuntimeError, match="same device"):
        function(*arguments)


def test_tensors_say_where_they_lie_and_results_lie_there_too(there):
    x = torch.arange(6.0, device=there).view(2, 3)
    for made in (
        x, x * 2, x @ x.mT, x.new_zeros(2), torch.zeros_like(x), torch.tensor([1, 2], device=there), x[[0]], x[x > 1],
        torch.zeros(2).to(there), torch.zeros(2).to(there.type), torch.ones(2, device=x.device), x.to(x.double()),
    ):  # fmt: skip
        assert made.device == there and made.is_cuda is (there.type == "cuda")
    for made in (x.cpu(), x.to("cpu"), torch.zeros(2), torch.zeros_like(x, device="cpu")):
        assert made.device.type == "cpu" and type(made) is torch.Tensor
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]] and float(x.sum()) == 15


def test_it_refuses_numpy(there):
    x = torch.ones(3, device=there)
    for function in (np.asarray, np.sum, torch.Tensor.numpy, lambda x: np.ones(3) + x, lambda x: np.array([x, x[0]]),
                     lambda x: x.detach().numpy(), lambda x: np.array(x[0])):  # fmt: skip
        with pytest.raises((TypeError, RuntimeError)):
            function(x)
    assert np.asarray(x.cpu()).sum() == 3


def test_it_refuses_mixed_devices(there):
    x, y, one = torch.ones(3, device=there), torch.ones(3), torch.ones(())
    index, inside = torch.tensor([0]), torch.ones(3, dtype=torch.bool)
    for function in (
        lambda: x + y, lambda: y * x, lambda: y.add_(x), lambda: torch.cat([x, y]), lambda: torch.cat([x, y[:0]]),
        lambda: torch.stack([x[0], one]), lambda: x @ y, lambda: x.gather(0, index), lambda: x.index_select(0, index),
        lambda: y[index.to(there)], lambda: torch.where(inside, x, 0.0), lambda: one.mul_(x[0]), lambda: x[0] + y,
        lambda: torch._foreach_add([x], [y]), lambda: x.index_put_((index,), y[:1]), lambda: torch.dot(x, y),
    ):  # fmt: skip
        refused(function)


def test_a_number_in_a_tensor_of_the_cpu_and_indices_of_the_cpu_are_welcome(there):
    x, two = torch.ones(3, device=there), torch.tensor(2.0)
    assert (x * two).tolist() == (two + x - 1).tolist() == [2, 2, 2]
    assert torch.where(x > 0, two, x).device == x.masked_fill(x > 0, two).device == there
    assert x[torch.tensor([0, 2])].tolist() == [1, 1] and x[torch.ones(3, dtype=torch.bool)].tolist() == [1, 1, 1]
    x[torch.tensor([0])] = two
    x[1:].copy_(torch.tensor([3.0, 4.0]))
    assert x.tolist() == [2, 3, 4]


def test_views_share_memory_and_writes_are_seen(there):
    x = torch.zeros(2, 3, device=there)
    x[0].add_(1)
    x.T[2, 1] = 5
    torch._foreach_mul_([x], 2)
    assert x.tolist() == [[2, 2, 2], [0, 0, 10]]
    y = x.detach().requires_grad_()
    assert y.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_transforms_and_modules_work_there(there):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(5, 3)
    weights = {name: p.detach() for name, p in net.named_parameters()}

    def loss(net, weights, x):
        return torch.func.functional_call(net.eval(), weights, (x,)).square().mean()

    def products(net, weights, x):
        gradient, pull = torch.func.vjp(torch.func.grad(lambda w: loss(net, w, x)), weights)
        several = {name: torch.stack([g, 2 * g]) for name, g in gradient.items()}
        each = torch.vmap(lambda x: loss(net, weights, x))(x[:, None])
        return {**torch.vmap(lambda g: pull(g)[0])(several), "each": each}

    found = products(copy.deepcopy(net).to(there), move(weights, there), move(x, there))
    for name, expected in products(net, weights, x).items():
        assert found[name].device == there and torch.equal(found[name].cpu(), expected)
    moved = copy.deepcopy(copy.deepcopy(net).to(there)).train()
    moved(move(x, there)).sum().backward()
    net.train()(x).sum().backward()
    for mine, theirs in zip(net.parameters(), moved.parameters(), strict=True):
        assert isinstance(theirs, nn.Parameter) and torch.equal(theirs.grad.cpu(), mine.grad)
    assert torch.equal(net[1].running_var, moved[1].running_var.cpu())


def test_autocast_works_there(there):
    x = torch.ones(2, 2, device=there)
    with torch.autocast(there.type, torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
    with torch.autocast(there.type, torch.bfloat16, enabled=False):
        assert (x @ x).dtype == torch.float32


def test_a_wrong_function_is_caught(ds):
    """The loss as this library computes it, with the labels' places forgotten on the CPU."""
    net = networks.build("mlp", ds, hidden=(4,))
    state = net.init(2)

    def wrong(net, state, x, y):
        log = net(state, x).log_softmax(-1)
        return -log.gather(2, y.cpu().expand(len(log), -1)[..., None]).mean((1, 2))

    assert wrong(net, state, ds.test_x, ds.test_y).shape == (2,)
    with machine() as device:
        net, moved = networks.build("mlp", move(ds, device), hidden=(4,)), move(ds, device)
        training.evaluate(net, net.init(2), moved.test_x, moved.test_y)
        refused(wrong, net, net.init(2), moved.test_x, moved.test_y)


def test_a_graph_repeats_its_capture_and_refuses_what_makes_the_host_wait():
    with machine("cuda") as device:
        x, steps, graph = torch.zeros(2, device=device), [0], torch.cuda.CUDAGraph()

        def update():
            steps[0] += 1
            x.add_(steps[0])
            x.mul_(torch.ones_like(x).cumsum(0))

        with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
            update()
        assert x.tolist() == [0, 0]
        for _ in range(2):
            graph.replay()
        assert x.tolist() == [2, 6]  # the number of steps was frozen; called, it would be [3, 8]
        for wait in (x.tolist, x.sum().item, x.cpu, lambda: x.to(device, copy=True) + torch.ones(2).to(device),
                     x.nonzero, lambda: x[x > 0], lambda: torch.tensor(1.0, device=device)):  # fmt: skip
            with pytest.raises(RuntimeError, match="capturing"), torch.cuda.graph(torch.cuda.CUDAGraph()):
                wait()
        assert Graph.capturing is None


def test_streams_that_do_not_wait_for_each_other_are_a_race():
    with machine("cuda") as device:
        x, one, two = torch.zeros(2, device=device), torch.cuda.Stream(), torch.cuda.Stream()
        y = x + 1
        with torch.cuda.stream(one):
            for use in (lambda: x + 1, x.view(1, 2).zero_, lambda: x.add_(1)):
                with pytest.raises(Race):
                    use()
        one.wait_stream(torch.cuda.current_stream())
        two.wait_stream(torch.cuda.current_stream())
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=one):
            y.add_(x)
        for stream in (one, two):
            with torch.cuda.stream(stream):
                x.sum()  # both may read
        with torch.cuda.stream(one):
            graph.replay()
            with pytest.raises(Race):
                x.zero_()  # two may still read it
        with torch.cuda.stream(two), pytest.raises(Race):
            y.sum()
        with pytest.raises(Race):
            graph.replay()
        one.synchronize()
        assert y.tolist() == [1, 1]
        with torch.cuda.stream(two):
            assert y.sum().item() == 2
        torch.cuda.synchronize()
        x.zero_()


def test_afterwards_all_is_as_before():
    before = torch.Tensor.to, torch.autocast, torch.cuda.Stream, torch.cuda.is_available()
    with machine("cuda"):
        assert torch.cuda.is_available()
    assert (torch.Tensor.to, torch.autocast, torch.cuda.Stream, torch.cuda.is_available()) == before
    assert Stream.current is None and type(torch.zeros(2)) is torch.Tensor
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            torch.zeros(2, device="cuda")


# The library there


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["cnn1d", "resnet8"])
def test_training_there_ends_with_the_bits_of_the_cpu(kind, name, ds, pictures, monkeypatch):
    """For "cuda" in a graph on a stream of its own, captured as the library does it; stacks are cut alike on both."""
    cut = lambda training, rows: [rows] if training.stacked else [[r] for r in rows]  # noqa: E731
    monkeypatch.setattr(sgd, "_parts", cut)
    monkeypatch.setattr(sgd, "_channels_last", lambda training: training.net.channels_last)
    monkeypatch.setattr(trial, "fewer", lambda _, *rest: trial._Few(*rest))
    here = ds if name == "cnn1d" else pictures
    recipe = training.Recipe(steps=12, batch_size=16, lr=0.1, weight_decay=1e-3, nesterov=True)
    net = networks.build(name, here, width=4)
    expected = training.train(net, net.init(2), here, recipe, start=[0, 5])
    with machine(kind) as device:
        dataset = move(here, device)
        net = networks.build(name, dataset, width=4)
        found = training.train(net, net.init(2), dataset, recipe, start=[0, 5])
        found = move(found, "cpu")
    for entry in expected:
        assert torch.equal(found[entry], expected[entry]), entry


def things(net, ds, state):
    """States, masks, a Hessian and what else the public functions take, on the dataset's device."""
    t = SimpleNamespace(net=net, ds=ds, state=state, mask=pruning.full(net, state))
    t.x, t.y = ds.training_set()
    t.pruned = pruning.magnitude(state, t.mask, 0.3)
    t.length = length(pruning.apply(state, t.mask))
    t.other = perturbation.perturb(state, perturbation.random_direction(state, t.mask, t.length, seed=1), 0.5)
    t.third = pruning.apply(state, t.pruned)
    t.matrix, t.w = curvature.hessian(net, state, t.x, t.y, t.mask)[0], curvature.weights(state, t.mask)[0]
    t.values = torch.linalg.eigvalsh(t.matrix.double()).abs() + 1e-3
    t.spectrum = curvature.spectrum(net, state, t.x, t.y, t.mask, probes=2, iterations=4)
    t.losses, t.errors = wells.projections(net, state, t.mask, ds, (0.2, 0.5), "random")
    return t


PUBLIC = {  # what gives tensors, tuples or states of them, or numbers
    "shuffle": lambda t: pruning.shuffle(t.pruned),
    "layerwise": lambda t: pruning.layerwise(t.state, t.mask, 0.3),
    "path": lambda t: landscape.path(t.net, [t.state, t.other, t.third], t.ds.test_x, t.ds.test_y, 3),
    "barrier": lambda t: landscape.error_barrier(t.net, t.state, t.other, t.ds.test_x, t.ds.test_y, 3, "mean"),
    "all_pairs": lambda t: landscape.all_pairs(
        lambda s: landscape.error(t.net, s, t.ds.test_x, t.ds.test_y), [t.state, t.other], 3
    ),
    "plane": lambda t: landscape.plane(t.net, t.state, t.other, t.third, t.ds, 2),
    "coordinates": lambda t: displacements.coordinates(t.net, t.state, t.other, t.third, t.other),
    "overlap": lambda t: displacements.overlap(t.net, (t.state, t.other), (t.state, t.third)),
    "pruning_direction": lambda t: perturbation.pruning_direction(t.state, t.mask, t.pruned),
    "top": lambda t: measures.top(t.net, t.state, t.x, t.y, t.mask, count=1)[0],
    "angular_dimension": lambda t: curvature.angular_dimension(t.values, float(t.length[0]), 0.1),
    "gordon_fraction": lambda t: curvature.gordon_fraction(t.values, t.w, 0.1),
    "sampled": lambda t: curvature.gordon_fraction(t.spectrum.nodes(0)[0], t.w, 0.1, t.spectrum.nodes(0)[1]),
    "subspace_losses": lambda t: wells.subspace_losses(t.matrix, t.w, "random"),
    "meeting": lambda t: wells.meeting(t.values, 1.0, 0.1, 3),
    "meeting_fraction": lambda t: wells.meeting_fraction(t.values, 1.0, 0.1),
    "crossing": lambda t: wells.crossing(torch.arange(3.0, device=t.x.device).double(), t.losses - t.losses[0], 0.01),
    "histogram": lambda t: magnitudes.histogram(t.state, t.mask, torch.linspace(0, 1, 5)),
    "threshold": lambda t: magnitudes.threshold(t.state, t.mask, t.pruned),
    "refilled": lambda t: magnitudes.refilled(t.state, t.pruned, magnitudes.threshold(t.state, t.mask, t.pruned)),
    "removed": lambda t: weight_changes.removed(t.state, t.mask, t.pruned),
    "already_small": lambda t: weight_changes.already_small(t.state, t.other, t.mask, 0.3),
    "agreement": lambda t: weight_changes.agreement(t.state, t.other, t.mask),
}


@pytest.fixture(scope="module")
def public(ds):
    """The things on the CPU, and on a device."""
    net = networks.build("mlp", ds, hidden=(4,))
    state = training.train(net, net.init(2), ds, training.Recipe(steps=10, batch_size=8))
    with machine("cuda") as device:
        moved = move(ds, device)
        there = things(networks.build("mlp", moved, hidden=(4,)), moved, move(state, device))
    return things(net, ds, state), there


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_of_tensors_works_there(public, name):
    here, there = public
    expected = PUBLIC[name](here)
    with machine("cuda"):
        found = PUBLIC[name](there)
        found = [move(part, "cpu") for part in found] if isinstance(found, tuple) else move(found, "cpu")
    assert_close(found, [*expected] if isinstance(expected, tuple) else expected, rtol=1e-4, atol=1e-5)


# The book there


def small(arm, levels):
    recipe = dataclasses.replace(arm.config.recipe, steps=8, batch_size=32)
    config = dataclasses.replace(arm.config, rewind_step=(0, 4), levels=levels, recipe=recipe)
    return dataclasses.replace(arm, config=config)


TINY = dataclasses.replace(
    SMOKE, main=small(SMOKE.main, 3), contrast=small(SMOKE.contrast, 1),
    tickets=dataclasses.replace(SMOKE.tickets, control_step=4, instability_steps=(0, 4), points=3),
    barriers=dataclasses.replace(
        SMOKE.barriers, pair_points=2, plane_steps=3, recalibrated_steps=(4,),
        walk=dataclasses.replace(SMOKE.barriers.walk, steps=4, return_levels=(1,), return_steps=(0, 4)),
        networks=tuple(small(arm, 1) for arm in SMOKE.barriers.networks),
    ),
    robustness=dataclasses.replace(SMOKE.robustness, times=(6,), rewind_steps=(0, 4)),
    limits=dataclasses.replace(SMOKE.limits, levels=(0, 2), steps=(8,), descent_step=7, adaptive_rises=(0.01,)),
    retraining=dataclasses.replace(SMOKE.retraining, short_step=6, fine_steps=3),
    diet=dataclasses.replace(
        SMOKE.diet, score_steps=(2, 4, 8), score_step=4, sizes=(256, 512),
        starts=((4, "random", 0.25), (4, "random", 0.5), (4, "easiest", 0.25), (4, "hardest", 0.25)),
    ),
)  # fmt: skip


class Place:
    """Experiments of the tiny preset on one device, records in a folder of their own."""

    def __init__(self, device, runs, patch):
        self.device, self.runs, self.patch, self.made = device, runs, patch, {}

    def record(self, name):
        if name not in self.made:
            self.patch.setenv(RUNS, str(self.runs))
            self.made[name] = RUN[name]("smoke", device=self.device)
        return self.made[name]

    def run(self):
        self.patch.setenv(RUNS, str(self.runs))
        return SETUP("smoke", device=self.device).run()


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The CPU, and the pretended CUDA device; who uses it does so on the machine."""
    arrays = {name: values[: 256 if "train" in name else 100] for name, values in data.mnist1d().items()}
    folder = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "smoke", TINY)
        patch.setattr(data, "load", lambda name, device="auto": data.from_arrays(name, **arrays, device=device))
        FORGET()
        yield Place("cpu", folder / "cpu", patch), Place("cuda:0", folder / "there", patch)
    FORGET()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.soak) for name in EXPERIMENTS]
)
def test_every_experiment_gives_the_same_there(places, name):
    """In the branches of CUDA: all replicates in one stack, captured steps, larger parts."""
    here, there = places
    expected = here.record(name)
    with machine("cuda"):
        found = there.record(name)
    assert set(found) == set(expected)
    rtol = 1e-3 if name == "landscape_of_data" else 1e-5  # a ReLU that rounding turns on changes the curvature
    for entry in expected:
        assert_close(found[entry], expected[entry], rtol=rtol, atol=1e-6, msg=lambda text, entry=entry: entry + text)


@pytest.mark.parametrize("name", ["masks", "examples"])
def test_figures_are_drawn_from_tensors_there(places, name):
    here, there = places
    with machine("cuda"):
        thing = there.run().at(4) if name == "masks" else SETUP("smoke", device=there.device).ds
        found = getattr(figures, name)(thing)
    thing = here.run().at(4) if name == "masks" else SETUP("smoke", device=here.device).ds
    expected = getattr(figures, name)(thing)
    if name == "masks":
        found, expected = (panes.drawings[panes.default] for panes in (found, expected))
    assert found.alt == expected.alt and found.png() == expected.png()


def test_a_crossing_is_drawn_from_tensors_there(public):
    here, there = public
    expected = limits_figures.crossing(*here.spectrum.nodes(0), here.w, 0.1)
    with machine("cuda"):
        found = limits_figures.crossing(*there.spectrum.nodes(0), there.w, 0.1)
    assert found.alt == expected.alt


@pytest.mark.soak
@pytest.mark.parametrize("name", [path.stem for path in CHAPTERS])
def test_every_line_of_a_chapter_runs_there(places, name):
    """What a reader with a GPU runs, figures and findings included; records are those made above."""
    _, there = places
    path = next(path for path in CHAPTERS if path.stem == name)
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    begin = next(i for i, cell in enumerate(cells) if cell.startswith("preset = "))
    scope = {"__name__": "__main__", "preset": "smoke", "recompute": False, "device": there.device}
    there.patch.setenv(RUNS, str(there.runs))
    with machine("cuda"):
        for cell in cells[begin + 1 :]:
            exec(compile(cell, str(path), "exec"), scope)
