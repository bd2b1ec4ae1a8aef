"""Every kind of network x float32, float64 x stacked, looped: the same as plain modules, replicate by replicate."""

import contextlib
import dataclasses
import inspect

import numpy as np
import pytest
import torch
import twins
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

from lotterylib import curvature, data, networks, training

CLASSES, REPLICATES = 3, 2
RECIPE = training.Recipe(steps=5, batch_size=8, lr=0.05, momentum=0.9, weight_decay=1e-2, nesterov=True)
TOLERANCE = {torch.float32: {"rtol": 1e-4, "atol": 1e-5}, torch.float64: {"rtol": 1e-9, "atol": 1e-11}}


class Normed(nn.Sequential):
    """Features."""

    inputs = "features"

    def __init__(self):
        super().__init__(nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES))


class Attention(nn.Module):
    """The twelve features as four tokens of three."""

    inputs = "features"

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.head = nn.Linear(3, 8), nn.Linear(8, 24), nn.Linear(8, CLASSES)

    def forward(self, x):
        tokens = self.embed(x.unflatten(1, (4, 3)))
        query, key, value = self.mix(tokens).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.head((tokens + mixed).mean(1))


class Recurrent(nn.Module):
    """The twelve features as four steps of three."""

    inputs, kind = "features", nn.LSTM

    def __init__(self):
        super().__init__()
        self.body, self.head = self.kind(3, 5, batch_first=True), nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.head(self.body(x.unflatten(1, (4, 3)))[0][:, -1])


class Gated(Recurrent):
    kind = nn.GRU


class Embedding(nn.Module):
    """Seven tokens of eleven kinds."""

    inputs = "tokens"

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.embed(x)).mean(1))


class Pooled(nn.Sequential):
    """Pictures of eight by eight."""

    inputs = "pictures"

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(16, CLASSES)
        )


BUILT = {"cnn1d": {"width": 3}, "resnet1d": {"width": 3}, "mlp": {"hidden": (6,)}, "resnet8": {"width": 2}}
WRAPPED = {
    "batchnorm": Normed, "attention": Attention, "lstm": Recurrent, "gru": Gated, "embedding": Embedding,
    "maxpool": Pooled,
}  # fmt: skip
NETWORKS = (*BUILT, *WRAPPED)


def dataset(inputs, dtype):
    """30 + 10 examples of a kind, in the type of the network."""
    rng = np.random.default_rng(3)
    y = np.arange(40) % CLASSES
    x = {
        "features": rng.normal(size=(40, 12)), "tokens": rng.integers(0, 11, (40, 7)),
        "pictures": rng.integers(0, 256, (40, 8, 8, 3), np.uint8),
    }[inputs]  # fmt: skip
    made = data.from_arrays(inputs, x[:30], y[:30], x[30:], y[30:], device="cpu", augment=inputs == "pictures")
    return twins.double(made) if dtype == torch.float64 else made


@dataclasses.dataclass
class Case:
    """A network, its data, and the tolerance of its type."""

    name: str
    dtype: torch.dtype
    stacked: bool

    @property
    def close(self):
        return TOLERANCE[self.dtype]

    def make(self):
        """The network and its dataset."""
        inputs = WRAPPED[self.name].inputs if self.name in WRAPPED else "features"
        ds = dataset("pictures" if self.name == "resnet8" else inputs, self.dtype)
        if self.name in WRAPPED:
            plain = WRAPPED[self.name]
        else:
            built = networks.build(self.name, ds, **BUILT[self.name])
            plain = built.make

        def made():
            return plain().to(self.dtype)

        prunable = [name for name, weight in made().named_parameters() if weight.dim() > 1]
        net = networks.wrap(made, "cpu", prunable, self.stacked)
        try:
            net.try_on(ds.test_x)
        except ValueError as refusal:  # what cannot be stacked is computed one by one, and that by default
            assert self.stacked and "stacked" in str(refusal)
            net = networks.wrap(made, "cpu", prunable)
            net.try_on(ds.test_x)
            assert not net.stacked
        return net, ds


@pytest.fixture(params=[
    pytest.param(Case(name, dtype, stacked), id=f"{name}-{str(dtype)[6:]}-{'stacked' if stacked else 'looped'}")
    for name in NETWORKS for dtype in TOLERANCE for stacked in (True, False)
])  # fmt: skip
def case(request):
    """A network, a type, a way of computing."""
    return request.param


@contextlib.contextmanager
def derivable():
    """Kernels that torch can derive twice; around the twins alone."""
    flags = torch.backends.mkldnn.flags
    newer = {"allow_tf32": None} if "allow_tf32" in inspect.signature(flags).parameters else {}  # not in torch 2.4
    with sdpa_kernel(SDPBackend.MATH), flags(enabled=False, **newer):
        yield


def moved(net, ds, state):
    """The state after a step or two, so that statistics and biases are not what they begin as."""
    for r in range(REPLICATES):
        model = twins.module(net, state, r)
        twins.sgd(model, ds, RECIPE, seed=r, stop=2)
        for name, tensor in model.state_dict().items():
            state[name][r] = tensor
    return state


def test_five_steps_are_those_of_torch(case):
    net, ds = case.make()
    state = net.init(REPLICATES, seed=4)
    found = training.train(net, state, ds, RECIPE, order_seed=7)
    for r in range(REPLICATES):
        model = twins.module(net, state, r)
        twins.sgd(model, ds, RECIPE, seed=7 + r)
        for name, expected in model.state_dict().items():
            assert found[name].dtype == expected.dtype, name
            assert_close(found[name][r], expected, **case.close, msg=lambda text, name=name: f"{name}: {text}")


def test_logits_are_those_of_the_module(case):
    net, ds = case.make()
    state = moved(net, ds, net.init(REPLICATES, seed=4))
    found = net(state, ds.test_x)
    assert found.shape == (REPLICATES, len(ds.test_x), CLASSES) and found.dtype == case.dtype
    for r in range(REPLICATES):
        assert_close(found[r], twins.module(net, state, r).eval()(ds.test_x).detach(), **case.close)


def test_hessian_products_are_those_of_double_backward(case):
    net, ds = case.make()
    state = moved(net, ds, net.init(REPLICATES, seed=4))
    x, y = ds.training_set()
    sizes = [state[name][0].numel() for name in net.prunable]
    vectors = torch.randn(REPLICATES, 2, sum(sizes), generator=torch.Generator().manual_seed(5)).to(case.dtype)
    found = curvature.hvp(net, state, x, y, vectors)
    assert found.dtype == case.dtype
    for r in range(REPLICATES):
        model = twins.module(net, state, r).eval()
        weights = [model.get_parameter(name) for name in net.prunable]
        with derivable():
            slopes = torch.autograd.grad(F.cross_entropy(model(x), y), weights, create_graph=True)
            slope = torch.cat([part.flatten() for part in slopes])
            for v in range(2):
                product = torch.autograd.grad(slope @ vectors[r, v], weights, retain_graph=True, materialize_grads=True)
                assert_close(found[r, v], torch.cat([part.flatten() for part in product]), **case.close)


@pytest.mark.parametrize("name", WRAPPED)
def test_whatever_is_wrapped_trains_by_default(name):
    net, ds = networks.wrap(WRAPPED[name], "cpu"), dataset(WRAPPED[name].inputs, torch.float32)
    training.train(net, net.init(REPLICATES), ds, RECIPE)


def test_a_network_in_float64_trains_on_features_in_float32():
    net, ds = networks.wrap(lambda: Normed().double(), "cpu"), dataset("features", torch.float32)
    assert all(tensor.dtype != torch.float32 for tensor in training.train(net, net.init(), ds, RECIPE).values())
