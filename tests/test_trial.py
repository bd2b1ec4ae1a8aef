"""Foreign modules: trained as plain torch trains them, or refused before the first step."""

import dataclasses

import pytest
import torch
import twins
from torch import nn
from torch.testing import assert_close

from lotterylib import data, imp, networks, training, trial

RECIPE = training.Recipe(steps=6, batch_size=16, lr=0.05, momentum=0.9, weight_decay=1e-3)


class Around(nn.Module):
    """A linear layer, and something done to its logits."""

    def __init__(self, change, **parts):
        super().__init__()
        self.body, self.change = nn.Linear(12, 3), change
        for name, part in parts.items():
            self.register_buffer(name, part) if torch.is_tensor(part) else self.add_module(name, part)

    def forward(self, x):
        return self.change(self, self.body(x))


def assigned(module, logits):
    module.seen = module.seen + 1
    return logits


def in_place(module, logits):
    module.seen.add_(1)
    return logits


REFUSED = {
    "dropout": (lambda m, x: m.drop(x), {"drop": nn.Dropout(0.1)}, "draws random numbers in training"),
    "functional dropout": (lambda m, x: nn.functional.dropout(x, 0.5, m.training), {}, "draws random numbers"),
    "noise": (lambda m, x: x + torch.randn_like(x), {}, "draws random numbers"),
    "rrelu": (lambda m, x: m.act(x), {"act": nn.RReLU()}, "draws random numbers"),
    "a buffer assigned": (assigned, {"seen": torch.zeros(())}, "puts another tensor in the place of its buffer 'seen'"),
    "two outputs": (lambda m, x: (x, x), {}, r"returns a tuple \(\) for 2 inputs; it must return one tensor of logits"),
    "a dict": (lambda m, x: {"logits": x}, {}, "returns a dict"),
    "one number an input": (lambda m, x: x[:, 0], {}, r"returns a Tensor \(2,\)"),
    "the sum": (lambda m, x: x.sum(0, keepdim=True), {}, r"returns a Tensor \(1, 3\)"),
    "an error": (lambda m, x: x.view(7), {}, r"does not take inputs x of shape \(2, 12\)"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("stacked", [None, False])
def test_refused_before_the_first_step(ds, case, stacked):
    change, parts, match = REFUSED[case]
    net = networks.wrap(lambda: Around(change, **parts), "cpu", stacked=stacked)
    generator = torch.get_rng_state()
    for call in (
        lambda: training.train(net, net.init(2), ds, RECIPE),
        lambda: training.evaluate(net, net.init(2), ds.test_x, ds.test_y),
        lambda: imp.run(net, ds, imp.Config(RECIPE, levels=1, replicates=2)),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    if case in ("a buffer assigned", "two outputs"):
        assert torch.equal(torch.get_rng_state(), generator)


def test_dropout_that_drops_nothing_is_taken(ds):
    net = networks.wrap(lambda: Around(lambda m, x: m.drop(x), drop=nn.Dropout(0.0)), "cpu")
    training.train(net, net.init(2), ds, RECIPE)


@pytest.mark.parametrize("stacked", [None, False])
def test_a_buffer_changed_in_place_counts(ds, stacked):
    net = networks.wrap(lambda: Around(in_place, seen=torch.zeros(())), "cpu", stacked=stacked)
    state = training.train(net, net.init(2), ds, RECIPE)
    assert state["seen"].tolist() == [6, 6]


class Viewing(nn.Module):
    """What people write: a view of a convolution's output, a view of its weight, a scalar parameter."""

    def __init__(self):
        super().__init__()
        self.conv, self.head, self.scale = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Linear(4 * 64, 3),
            nn.Parameter(torch.ones(())),
        )

    def forward(self, x):
        x = torch.relu(self.conv(x) + self.conv.weight.view(-1)[0])
        return self.head(x.view(len(x), -1)) * self.scale


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.lstm(x.view(len(x), 4, 3))[0][:, -1])


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        x = x.view(len(x), 3, 4)
        return self.head(self.attend(x, x, x, need_weights=False)[0].mean(1))


class Tokens(nn.Module):
    """Whole numbers in, and an embedding that the last layer shares."""

    def __init__(self):
        super().__init__()
        self.embed, self.decode, self.head = nn.Embedding(20, 6), nn.Linear(6, 20, bias=False), nn.Linear(20, 3)
        self.decode.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(torch.tanh(self.decode(self.embed(tokens).mean(1))))


class Reader(nn.Module):
    """Reads a value of its input on the host, which no stack can."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        return self.head(x) if float(x.sum()) > -1e9 else x


@pytest.fixture(scope="module")
def tokens():
    torch.manual_seed(0)
    x, y = torch.randint(0, 20, (90, 5)), torch.arange(90) % 3
    return data.from_arrays("tokens", x[:60], y[:60], x[60:], y[60:], device="cpu")


@pytest.mark.parametrize("make", [Viewing, Recurrent, Attending, Tokens, Reader], ids=lambda make: make.__name__)
@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
def test_foreign_modules_train_as_plain_torch_trains_them(request, ds, pictures, make, double):
    ds = {Viewing: pictures, Tokens: request.getfixturevalue("tokens")}.get(make, ds)
    kind = torch.float64 if double else torch.float32
    net = networks.wrap(lambda: make().to(kind), "cpu")
    state = net.init(2, seed=3)
    trained = training.train(net, state, ds, RECIPE, order_seed=5)
    assert all(tensor.dtype == kind for tensor in trained.values())
    net.map(lambda one: one[net.parameters[0]])(trained)
    plain = twins.double(ds) if double else ds
    if make is Tokens:
        plain = ds
    for r in range(2):
        torch.manual_seed(3 + r)
        model = make().to(kind)
        twins.sgd(model, plain, RECIPE, 5 + r)
        expected = dict(model.named_parameters())
        for name in net.parameters:
            assert_close(trained[name][r], expected[name].detach(), rtol=1e-4, atol=1e-6)
        assert_close(net(trained, ds.test_x)[r], model.eval()(plain.test_x.contiguous()).detach(), rtol=1e-4, atol=1e-5)
        fresh = make().to(kind)
        fresh.load_state_dict(net.state_dict(trained, r), strict=True)
        assert_close(fresh.eval()(plain.test_x.contiguous()), model(plain.test_x.contiguous()))
    config = imp.Config(RECIPE, rewind_step=2, levels=2, replicates=2)
    assert imp.run(net, ds, config).densities[-1] < 0.7


def test_what_torch_cannot_stack_is_looped_unless_it_was_asked_for(ds):
    net = networks.wrap(Reader, "cpu")
    assert net.stacked
    training.train(net, net.init(2), ds, RECIPE)
    assert not net.stacked
    with pytest.raises(ValueError, match="stacked is True, but torch cannot stack this module"):
        asked = networks.wrap(Reader, "cpu", stacked=True)
        training.train(asked, asked.init(2), ds, RECIPE)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["cnn1d", "mlp"])
def test_half_precision_trains_stacked_or_looped(ds, name, precision):
    """torch cannot stack BatchNorm in half precision: such networks are looped there, and stacked in float32."""
    net = networks.build(name, ds, **({"width": 4} if name == "cnn1d" else {}))
    half = training.Recipe(steps=6, batch_size=16, lr=0.05, precision=precision)
    state = net.init(2)
    trained = training.train(net, state, ds, half)
    exact = training.train(net, state, ds, training.Recipe(steps=6, batch_size=16, lr=0.05))
    assert net.stacked
    for entry in net.prunable:
        assert_close(trained[entry], exact[entry], rtol=0, atol=0.02)
        assert not torch.equal(trained[entry], exact[entry])


def as_on_cuda(monkeypatch):
    monkeypatch.setattr(trial, "fewer", lambda _, *rest: trial._Few(*rest))


def test_batchnorm_of_a_stack_is_that_of_each_replicate(pictures, monkeypatch):
    """As CUDA computes it: weights, statistics and counters of a training, BatchNorm over (N, C) and (N, C, H, W)."""

    def make():
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6), nn.BatchNorm1d(6),
            nn.ReLU(), nn.Linear(6, 3),
        )  # fmt: skip

    looped, stacked = (networks.wrap(make, "cpu", stacked=value) for value in (False, True))
    state = looped.init(3)
    expected = training.train(looped, state, pictures, RECIPE)
    as_on_cuda(monkeypatch)
    found = training.train(stacked, state, pictures, RECIPE)
    for entry in expected:
        assert_close(
            found[entry], expected[entry], rtol=1e-4, atol=1e-5, msg=lambda text, entry=entry: f"{entry}: {text}"
        )
    assert found["1.num_batches_tracked"].tolist() == [RECIPE.steps] * 3
    one = training.train(looped, state, pictures, RECIPE)  # looped, counters are raised together
    assert all(torch.equal(one[entry], expected[entry]) for entry in expected)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_stack_in_half_precision_is_as_exact_as_one_replicate(pictures, monkeypatch, precision):
    """As CUDA computes it; the gradients' scale in float16 shows in no weight."""
    as_on_cuda(monkeypatch)
    half = dataclasses.replace(RECIPE, precision=precision)
    looped = networks.build("resnet8", pictures, width=4)
    stacked = networks.wrap(looped.make, "cpu", stacked=True)
    assert stacked.stacks(pictures.test_x, precision) and not looped.stacks(pictures.test_x, precision)
    state = looped.init(2)
    exact, *found = (
        training.train(net, state, pictures, recipe)
        for net, recipe in ((looped, RECIPE), (looped, half), (stacked, half))
    )
    for entry in looped.parameters:
        moved = float((exact[entry] - state[entry]).norm())
        off = [float((one[entry] - exact[entry]).norm()) for one in found]
        assert 0 < off[0] < 0.5 * moved and 0 < off[1] < 0.5 * moved, (entry, moved, off)


def test_a_module_whose_batchnorm_has_no_weights_is_stacked_by_torch(pictures, monkeypatch):
    as_on_cuda(monkeypatch)
    net = networks.wrap(
        lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192, affine=False), nn.Linear(192, 3)), "cpu"
    )
    training.train(net, net.init(2), pictures, RECIPE)
    assert net.stacked


def test_channels_last_is_for_what_takes_it(pictures, picture):
    two = pictures.test_x[:2].contiguous()
    assert trial.takes_channels_last(picture(), two) and not trial.takes_channels_last(Viewing(), two)


def bad_labels(y):
    return {
        "a column": (y[:, None], r"y has shape \(300, 1\)"),
        "negative": (y - 1, "y runs from -1 to 1; labels must lie between 0 and 2"),
        "ignored": (torch.where(y == 0, -100, y), "y runs from -100"),
        "too large": (y + 1, "y runs from 1 to 3"),
        "one for many": (y[:1], r"y has shape \(1,\).*\(300,\) whole numbers"),
        "floats": (y.float(), "type torch.float32"),
        "a list": (y.tolist(), "type list"),
    }


@pytest.mark.parametrize("case", bad_labels(torch.arange(300) % 3))
def test_labels_that_do_not_fit_are_refused(ds, net, case):
    y, match = bad_labels(ds.test_y)[case]
    with pytest.raises(ValueError, match=match):
        training.evaluate(net, net.init(1), ds.test_x, y)


def test_no_example_at_all_is_refused(ds, net):
    with pytest.raises(ValueError, match="one for each of one or more inputs"):
        training.evaluate(net, net.init(1), ds.test_x[:0], ds.test_y[:0])
