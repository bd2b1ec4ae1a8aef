"""Networks: their layers against torch's own, their states against plain modules."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import plain
import pytest
import torch
import twins
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.testing import assert_close

from lotterylib import architectures, networks, states, training


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_conv1d_is_torchs(kernel, stride, bias):
    layer = architectures.Conv1d(4, 6, kernel, stride, bias=bias).double()
    for length in (7, 8, 40):
        x = torch.randn(5, length, 4, dtype=torch.float64)
        expected = F.conv1d(x.mT, layer.weight.mT, layer.bias, stride=stride, padding=kernel // 2)
        assert_close(layer(x), expected.mT, rtol=1e-12, atol=1e-12)
    assert (layer.bias is not None) == bias


def test_conv1d_is_initialised_as_torchs():
    """Uniform within 1 / sqrt(fan in), weight and bias, as nn.Conv1d: same bounds, same spread."""
    mine, theirs = architectures.Conv1d(20, 3000, 5, 1, bias=True), nn.Conv1d(20, 3000, 5)
    for name in ("weight", "bias"):
        drawn, expected = (getattr(layer, name).detach() for layer in (mine, theirs))
        assert float(drawn.abs().max() / expected.abs().max()) == pytest.approx(1, abs=0.002)
        assert float(drawn.std() / expected.std()) == pytest.approx(1, abs=0.05)


class Twin(nn.Module):
    """The testbed written with torch's own layers, channels second."""

    def __init__(self, net, width, norm):
        super().__init__()
        plan = [(1, 5), (width, 3), (width, 3)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, width, kernel, stride=2, padding=kernel // 2, bias=not norm) for inputs, kernel in plan
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) if norm else nn.Identity() for _ in plan)
        for mine, theirs in zip(self.convolutions, net.convolutions, strict=True):
            mine.load_state_dict({n: p.mT if n == "weight" else p for n, p in theirs.state_dict().items()})
        self.linear = net.linear

    def forward(self, x):
        x = x[:, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x)))
        return self.linear(x.mT.flatten(1))


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("features", [40, 13])
def test_cnn1d_is_the_testbed(norm, features):
    model = architectures.CNN1d((features,), 10, width=6, norm=norm).double()
    twin = Twin(model, 6, norm).double()
    x = torch.randn(3, 9, features, dtype=torch.float64) * 3 + 1
    for batch in x:  # in training mode, so that the running statistics are compared afterwards in evaluation mode
        assert_close(model.train()(batch), twin.train()(batch), rtol=1e-9, atol=1e-9)
    assert_close(model.eval()(x[0]), twin.eval()(x[0]), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(model(x[0]), model.train()(x[0])) or not norm


@pytest.mark.parametrize("features", [40, 13])
@pytest.mark.parametrize("blocks", [1, 2])
def test_resnet1d_is_the_residual_testbed(blocks, features):
    model = architectures.ResNet1d((features,), 10, width=6, blocks=blocks).double()
    twin = plain.network(model.state_dict())
    assert [block.conv1.stride for block in model.blocks] == ([1, 2, 2] if blocks == 1 else [1, 1, 2, 1, 2, 1])
    x = torch.randn(3, 9, features, dtype=torch.float64) * 3 + 1
    for batch in x:  # in training mode, so that the running statistics are compared afterwards in evaluation mode
        assert_close(model.train()(batch), twin.train()(batch), rtol=1e-9, atol=1e-9)
    assert_close(model.eval()(x[0]), twin.eval()(x[0]), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(model(x[0]), model.train()(x[0]))


def test_counts_of_weights(mnist1d):
    def prunable(name):
        net = networks.build(name, mnist1d)
        return sum(net.module.get_parameter(entry).numel() for entry in net.prunable)

    assert prunable("cnn1d") == prunable("cnn1d_plain") == 24 * 5 + 2 * 24 * 24 * 3 + 120 * 10 == 4776
    assert prunable("resnet1d") == 24 * 5 + 6 * 24 * 24 * 3 + 2 * 24 * 24 + 24 * 10 == 11880
    assert prunable("mlp") == 40 * 100 + 100 * 100 + 100 * 10
    assert prunable("lenet_300_100") == 40 * 300 + 300 * 100 + 100 * 10
    assert not [name for name in networks.build("cnn1d_plain", mnist1d).parameters if "norm" in name]
    assert "convolutions.0.bias" in networks.build("cnn1d_plain", mnist1d).parameters
    assert "convolutions.0.bias" not in networks.build("cnn1d", mnist1d).parameters


def test_prunable_is_never_a_bias_or_a_norm(net, picture):
    assert net.prunable == (*(f"convolutions.{i}.weight" for i in range(3)), "linear.weight")
    wrapped = networks.wrap(picture, "cpu")
    assert wrapped.prunable == ("stem.weight", "body.0.weight", "head.weight")
    assert networks.wrap(lambda: nn.Linear(3, 2), "cpu").prunable == ("weight",)
    assert networks.wrap(lambda: nn.ConvTranspose2d(3, 2, 2), "cpu").prunable == ("weight",)


def test_lenet_is_kaiming_normal():
    weight = architectures.module("lenet_300_100", (28, 28), 10)[1].weight
    assert weight.shape == (300, 784)
    assert float(weight.detach().std()) == pytest.approx((2 / 784) ** 0.5, rel=0.02)
    assert float(weight.detach().abs().max()) > 3 * (2 / 784) ** 0.5  # a normal has tails


def test_mlp_takes_images(pictures):
    net = networks.build("mlp", pictures, hidden=(5,))
    assert net(net.init(2), pictures.test_x).shape == (2, 60, 3)


def test_a_network_says_what_it_takes(ds, pictures):
    with pytest.raises(ValueError, match=r"'cnn1d' takes inputs of shape \(features,\), not \(3, 8, 8\)"):
        networks.build("cnn1d", pictures)
    with pytest.raises(ValueError, match=r"'resnet1d' takes inputs of shape \(features,\), not \(3, 8, 8\)"):
        networks.build("resnet1d", pictures)
    with pytest.raises(ValueError, match=r"network is 'cnn_1d'.*'lenet_300_100'.*did you mean 'cnn1d'"):
        networks.build("cnn_1d", ds)


def test_wrap_refuses_what_it_cannot_prune_or_repeat():
    with pytest.raises(ValueError, match=r"prunable entry is 'wieght'.*allowed are 'weight', 'bias'.*mean 'weight'"):
        networks.wrap(lambda: nn.Linear(3, 2), "cpu", prunable=["wieght"])
    for make in (nn.Flatten, lambda: nn.BatchNorm1d(3)):
        with pytest.raises(ValueError, match="prunable is empty"):
            networks.wrap(make, "cpu")


def test_wrap_takes_layers_that_share_a_weight():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(torch.relu(self.first(x)))

    net, x = networks.wrap(Tied, "cpu"), torch.randn(5, 4)
    assert net.prunable == ("first.weight",)
    state = net.init(2)
    for r in range(2):
        torch.manual_seed(r)
        assert_close(net(state, x)[r], Tied()(x))


@pytest.mark.parametrize("replicates", [0, -1, 1.5])
def test_replicates_is_a_positive_number(net, replicates):
    with pytest.raises(ValueError, match=f"replicates is {replicates}"):
        net.init(replicates)


def test_a_replicate_is_drawn_by_its_seed_alone(net):
    torch.manual_seed(123)
    untouched = torch.rand(1)
    torch.manual_seed(123)
    state = net.init(3, seed=5)
    assert torch.equal(torch.rand(1), untouched)  # the global generator goes on as if nothing had happened
    for r in range(3):
        torch.manual_seed(5 + r)
        expected = net.make().state_dict()
        assert state.keys() == expected.keys()
        alone = net.init(1, seed=5 + r)
        for name in expected:
            assert torch.equal(state[name][r], expected[name]) and torch.equal(alone[name][0], expected[name])
            assert not state[name].requires_grad
    assert not torch.equal(state["linear.weight"][0], state["linear.weight"][1])


@pytest.mark.parametrize("stacked", [True, False])
def test_a_state_makes_the_round_trip_through_plain_modules(pictures, picture, stacked):
    net = networks.wrap(picture, "cpu", stacked=stacked)
    torch.manual_seed(0)
    modules = [picture() for _ in range(3)]
    for module in modules:  # running statistics of its own for each
        module(torch.randn(20, 3, 8, 8) * 2 + 1)
    state = {name: torch.stack([m.state_dict()[name] for m in modules]) for name in modules[0].state_dict()}
    before = {name: tensor.clone() for name, tensor in state.items()}
    logits = net(state, pictures.test_x)
    assert logits.shape == (3, 60, 3) and not logits.requires_grad
    for r, module in enumerate(modules):
        assert_close(logits[r], module.eval()(pictures.test_x), rtol=1e-5, atol=1e-6)
        assert_close(twins.module(net, state, r).state_dict(), module.state_dict(), rtol=0, atol=0)
    assert all(torch.equal(state[name], before[name]) for name in state)  # evaluation updates no statistics


@pytest.mark.parametrize(("stacked", "calls"), [(True, 1), (False, 3)])
def test_replicates_are_stacked_or_looped(stacked, calls):
    class Counting(nn.Linear):
        count = 0

        def forward(self, x):
            Counting.count += 1
            return super().forward(x)

    net = networks.wrap(lambda: Counting(4, 2), "cpu", stacked=stacked)
    net.map(lambda one: net.forward(one, torch.zeros(5, 4), train=True))(net.init(3))
    assert Counting.count == calls


def test_select_and_concatenate(net):
    state = net.init(4)
    picked = states.select(state, [2, 0])
    joined = states.concatenate([picked, states.select(state, [3])])
    assert states.replicates(joined) == 3
    for name in state:
        assert torch.equal(joined[name], torch.stack([state[name][i] for i in (2, 0, 3)]))


class Scaled(nn.Linear):
    """A linear layer that differs from others in what no printed form shows: its forward pass, or how it is drawn."""

    def __init__(self, factor=1.0, drawn=1.0):
        super().__init__(12, 3)
        self.factor = factor
        with torch.no_grad():
            self.weight *= drawn

    def forward(self, x):
        return super().forward(x) * self.factor


def test_the_identity_tells_networks_apart(ds, pictures, picture):
    """Checkpoints are keyed by it: whatever changes the run must change it."""
    described = [
        networks.build("cnn1d", ds).identity(ds.test_x),
        networks.build("cnn1d", ds).identity(ds.test_x, seed=1),
        networks.build("cnn1d", ds, width=4).identity(ds.test_x),
        networks.build("cnn1d_plain", ds).identity(ds.test_x),
        networks.wrap(picture, "cpu").identity(pictures.test_x),
        networks.wrap(picture, "cpu", prunable=["head.weight"]).identity(pictures.test_x),
        networks.wrap(lambda: nn.Linear(12, 3), "cpu").identity(ds.test_x),
        networks.wrap(lambda: nn.Linear(12, 4), "cpu").identity(ds.test_x),
        networks.wrap(lambda: Scaled(factor=1.001), "cpu").identity(ds.test_x),
        networks.wrap(lambda: Scaled(drawn=1.001), "cpu").identity(ds.test_x),
    ]
    assert all(a != b for i, a in enumerate(described) for b in described[:i])
    again = networks.wrap(picture, "cpu").identity(pictures.test_x)
    assert again == described[4] and json.loads(json.dumps(again))["effect"] == again["effect"]


def test_a_replicate_goes_out_as_a_plain_state_dict_and_comes_back(pictures, picture):
    net = networks.wrap(picture, "cpu")
    state = training.train(net, net.init(3), pictures, training.Recipe(steps=3, batch_size=20))
    plain = [net.state_dict(state, r) for r in range(3)]
    for r, given in enumerate(plain):
        module = picture()
        module.load_state_dict(given, strict=True)
        assert torch.equal(module.eval()(pictures.test_x), net(state, pictures.test_x)[r])
    back = net.from_state_dicts(plain)
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)
    plain[0]["head.weight"].zero_()
    assert state["head.weight"][0].abs().sum() > 0
    with pytest.raises(ValueError, match="replicate is 3; it must be >= 0 and <= 2"):
        net.state_dict(state, 3)
    with pytest.raises(ValueError, match=r"state_dicts do not fit the network: [\s\S]*head.bias"):
        net.from_state_dicts([{name: t for name, t in plain[0].items() if name != "head.bias"}])
    with pytest.raises(ValueError, match="number of state_dicts is 0"):
        net.from_state_dicts([])


@pytest.mark.parametrize("call", ["net", "train", "evaluate"])
def test_a_state_of_another_network_is_refused(ds, net, call):
    recipe = training.Recipe(steps=2, batch_size=16)
    use = {
        "net": lambda state: net(state, ds.test_x),
        "train": lambda state: training.train(net, state, ds, recipe),
        "evaluate": lambda state: training.evaluate(net, state, ds.test_x, ds.test_y),
    }[call]
    state = net.init(2)
    for wrong, match in (
        ({name: t for name, t in state.items() if name != "linear.bias"}, "state lacks the entry 'linear.bias'"),
        ({**state, "linear.biass": state["linear.bias"]}, "state entry is 'linear.biass'.*did you mean 'linear.bias'"),
        ({**state, "linear.bias": state["linear.bias"][:1]}, r"state entry 'linear.bias' has shape \(1, 3\)"),
        (networks.build("cnn1d", ds, width=3).init(2), "state entry .* has shape"),
        ({name: t[0] for name, t in state.items()}, "state entry .* has shape .*on the first axis"),
        (net.make(), "state is a CNN1d; it must be a dict"),
    ):
        with pytest.raises(ValueError, match=match):
            use(wrong)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (nn.Linear(3, 2), r"make is a Linear; it must be a function .*networks.wrap\(lambda: MyModule\(\)\)"),
        (None, "make is a NoneType"),
        (lambda: 3, "make returns a int; it must return an nn.Module"),
        (lambda: nn.LazyLinear(3), "lazy layers"),
        (lambda one=nn.Linear(3, 2): one, "make returns the same weights at every call"),  # noqa: B008
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), "computes its weight from other tensors"),
        (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2)), "computes its weight"),
        (lambda: prune.identity(nn.Linear(3, 2), "weight"), "computes its weight"),
    ],
)
def test_wrap_refuses(make, match):
    with pytest.raises(ValueError, match=match):
        networks.wrap(make, "cpu")


def test_weights_that_numpy_draws_are_refused():
    class Drawn(nn.Linear):
        def __init__(self):
            super().__init__(3, 2)
            self.weight.data = torch.from_numpy(np.random.default_rng().normal(size=(2, 3)).astype("float32"))

    with pytest.raises(ValueError, match="draws weights that torch's seed does not govern"):
        networks.wrap(Drawn, "cpu")


def test_attention_and_recurrent_weights_can_be_pruned():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.norm = nn.Embedding(9, 4), nn.LayerNorm(4)
            self.attend, self.lstm, self.head = nn.MultiheadAttention(4, 2), nn.LSTM(4, 5, 2), nn.Linear(5, 3)

    recurrent = [f"lstm.weight_{kind}h_l{layer}" for layer in (0, 1) for kind in "ih"]
    assert networks.wrap(Both, "cpu").prunable == (
        "attend.in_proj_weight", "attend.out_proj.weight", *recurrent, "head.weight",
    )  # fmt: skip


def test_exact_leaves_the_settings_as_they_were():
    """Also where the user has set torch's newer precision API, which refuses to be mixed with the older one."""
    code = """
import torch
if hasattr(torch.backends.cudnn, "conv"):
    torch.backends.cudnn.conv.fp32_precision = "tf32"
torch.backends.cudnn.benchmark = True
from lotterylib import networks
with networks.exact():
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    if hasattr(torch.backends.cudnn, "conv"):
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
assert torch.backends.cudnn.benchmark and not torch.backends.cudnn.deterministic
if hasattr(torch.backends.cudnn, "conv"):
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)
