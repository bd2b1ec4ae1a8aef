"""Curvature against autograd, a second library, matrices whose spectrum is known, and simulated wells."""

import curvlinops
import pytest
import torch
import twins
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

from lotterylib import curvature, networks, pruning, states, training

FLOAT64 = {"dtype": torch.float64}


@pytest.fixture(scope="module")
def point(net, ds):
    """Two replicates after a few steps, with masks of their own, and 60 examples; float64."""
    recipe = training.Recipe(steps=20, batch_size=40, lr=0.1, momentum=0.9)
    state = training.train(net, net.init(2, seed=1), ds, recipe)
    mask = pruning.random(state, pruning.full(net, state), 0.5, seed=2)
    x, y = ds.gather(torch.arange(60))
    return twins.double(state), mask, x.double(), y


def by_hand(net, point, r):
    """The Hessian of one replicate, in its kept weights, from autograd alone."""
    state, mask, x, y = point
    one, keep = twins.part(state, r), torch.cat([mask[name][r].flatten() for name in mask])
    dense = torch.cat([one[name].flatten() for name in mask]) * keep
    sizes = [one[name].numel() for name in mask]
    module = net.make().double().eval()

    def loss(kept):
        parts = dense.masked_scatter(keep, kept).split(sizes)
        shaped = {name: part.view_as(one[name]) for name, part in zip(mask, parts, strict=True)}
        return F.cross_entropy(torch.func.functional_call(module, {**one, **shaped}, (x,)), y)

    return torch.autograd.functional.hessian(loss, dense[keep])


def test_the_exact_hessian_is_autograds(net, point):
    state, mask, x, y = point
    found = curvature.hessian(net, state, x, y, mask)
    for r in range(2):
        assert_close(found[r], by_hand(net, point, r), rtol=1e-10, atol=1e-14)
    assert torch.equal(found, found.mT)
    vectors = torch.randn(2, 50, found.shape[1], **FLOAT64)  # so many that the examples come in three chunks
    products = curvature.hvp(net, state, x, y, vectors, mask)
    assert_close(products, vectors @ found, rtol=1e-10, atol=1e-12)
    single = curvature.hvp(net, state, x, y, vectors.float(), mask)
    assert single.dtype == torch.float32
    assert_close(single.double(), products, rtol=1e-3, atol=1e-5)


def test_the_products_are_those_of_curvlinops(net, point):
    """Without a mask; curvlinops takes the mean over two batches."""
    state, _, x, y = point
    size = sum(state[name][0].numel() for name in net.prunable)
    vectors = torch.randn(2, 3, size, **FLOAT64)
    found = curvature.hvp(net, state, x, y, vectors)
    for r in range(2):
        module = twins.module(net, state, r).eval()
        parameters = [module.get_parameter(name) for name in net.prunable]
        batches = [(x[:30], y[:30]), (x[30:], y[30:])]
        matrix = curvlinops.HessianLinearOperator(module, torch.nn.CrossEntropyLoss(), parameters, batches)
        assert_close(found[r].T, matrix @ vectors[r].T, rtol=1e-9, atol=1e-12)


def test_what_the_state_holds_outside_the_mask_does_not_matter(net, point):
    state, mask, x, y = point
    garbage = {name: torch.where(mask[name], t, 7.0) if name in mask else t for name, t in state.items()}
    clean = pruning.apply(state, mask)
    assert_close(curvature.hessian(net, garbage, x, y, mask), curvature.hessian(net, clean, x, y, mask))
    w = curvature.weights(garbage, mask)
    assert torch.equal(w, curvature.weights(clean, mask)) and (w < 0).any()
    for r in range(2):
        expected = [state[name][r][mask[name][r]] for name in net.prunable]
        assert torch.equal(w[r], torch.cat(expected))


@pytest.mark.parametrize("stacked", [True, False])
def test_any_network_will_do(picture, pictures, stacked):
    """2-D convolutions and a skip connection, stacked or not."""
    ds = twins.double(pictures)
    net = networks.wrap(picture, "cpu", stacked=stacked)
    state = twins.double(net.init(2, seed=0))
    x, y = ds.test_x[:20], ds.test_y[:20]
    mask = pruning.random(state, pruning.full(net, state), 0.8, seed=0)
    found = curvature.hessian(net, state, x, y, mask)
    for r in range(2):
        assert_close(found[r], by_hand(net, (state, mask, x, y), r), rtol=1e-9, atol=1e-13)


# Networks whose operators torch treats in their own ways


class Pooled(nn.Module):
    """Max pooling of images."""

    def __init__(self):
        super().__init__()
        self.convolution, self.pool, self.head = nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Linear(36, 3)

    def forward(self, x):
        return self.head(self.pool(torch.tanh(self.convolution(x))).flatten(1))


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 18), nn.Linear(6, 3)

    def forward(self, x):
        q, k, v = self.inner(x).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        return self.head(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).mean(1))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 3)
        self.inner = nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0, batch_first=True)

    def forward(self, x):
        return self.head(self.inner(self.embedding(x)).mean(1))


class Tied(nn.Module):
    """The embedding's weight is the last layer's too."""

    def __init__(self):
        super().__init__()
        self.embedding, self.inner, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(torch.tanh(self.inner(self.embedding(x).mean(1))))


def recurrent(kind):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = kind(5, 3, batch_first=True), nn.Linear(3, 3)

        def forward(self, x):
            return self.head(self.inner(x)[0][:, -1])

    return Recurrent


class Sine(torch.autograd.Function):
    """An operator that can be differentiated twice and has no rule for vmap."""

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].cos()


class OldSine(torch.autograd.Function):
    """One that ``torch.func`` does not take at all."""

    @staticmethod
    def forward(ctx, x):
        return x.sin()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def waving(operator):
    class Waving(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(operator.apply(self.inner(x)))

    return Waving


TOKENS, SERIES = torch.arange(40).view(8, 5) ** 2 % 7, (torch.arange(240.0).view(8, 6, 5) ** 2).cos()
IMAGES = (torch.arange(8 * 3 * 64.0).view(8, 3, 8, 8) ** 2).cos()
WEIGHTS = ("inner.weight_ih_l0", "inner.weight_hh_l0", "head.weight")
CASES = {
    "pool": (Pooled, IMAGES, None),
    "pool, channels last": (Pooled, IMAGES.contiguous(memory_format=torch.channels_last), None),
    "attention": (Attending, SERIES[:, :, :3].repeat(1, 1, 2), None),
    "transformer": (Transformer, TOKENS, ("inner.self_attn.in_proj_weight", "inner.linear1.weight", "head.weight")),
    "tied": (Tied, TOKENS, ("embedding.weight", "inner.weight")),
    "lstm": (recurrent(nn.LSTM), SERIES, WEIGHTS),
    "gru": (recurrent(nn.GRU), SERIES, WEIGHTS),
    "rnn": (recurrent(nn.RNN), SERIES, WEIGHTS),
    "no rule for vmap": (waving(Sine), SERIES[:, 0], None),
}


@pytest.mark.parametrize("case", CASES)
def test_operators_that_torch_treats_in_their_own_ways(case):
    """Products in float64 against autograd's matrix, and in float32, with gradients off, near them."""
    make, x, prunable = CASES[case]
    net = networks.wrap(make, "cpu", prunable=prunable, stacked=False)
    state, y = net.init(2, seed=3), torch.arange(8) % 3
    mask = pruning.random(state, pruning.full(net, state), 0.4, seed=1)
    exact = twins.double(state), mask, x.double() if x.is_floating_point() else x, y
    vectors = torch.randn(2, 3, int(pruning.remaining(mask)[0]), generator=torch.Generator().manual_seed(5), **FLOAT64)
    found = curvature.hvp(net, exact[0], x, y, vectors, mask)
    with sdpa_kernel(SDPBackend.MATH):
        expected = torch.stack([vectors[r] @ by_hand(net, exact, r) for r in range(2)])
    assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert float(found.abs().max()) > 1e-3
    with torch.no_grad():
        single = curvature.hvp(net, state, x, y, vectors.float(), mask)
    assert_close(single.double(), expected, rtol=1e-3, atol=1e-4)
    assert torch.backends.cuda.flash_sdp_enabled() and torch.backends.cudnn.enabled


def test_one_example_is_enough(net, point):
    state, mask, x, y = ({n: t[:1] for n, t in part.items()} if isinstance(part, dict) else part[:1] for part in point)
    found = curvature.hessian(net, state, x, y, mask)
    assert_close(found[0], by_hand(net, (state, mask, x, y), 0), rtol=1e-10, atol=1e-14)


def test_what_cannot_be_differentiated_twice_is_refused(ds):
    net = networks.wrap(waving(OldSine), "cpu")
    state, x, y = net.init(1), SERIES[:, 0], torch.arange(8) % 3
    vectors = torch.ones(1, 1, 32)
    with pytest.raises(ValueError, match="torch cannot differentiate the network twice: .* must use other operators"):
        curvature.hvp(net, state, x, y, vectors)


@pytest.mark.parametrize("replicates", [1, 2, 3])
def test_products_do_not_depend_on_the_number_of_threads(net, ds, replicates):
    """To the bit, in float32: how the examples are cut into parts is no matter of the machine."""
    state, (x, y) = net.init(replicates, seed=1), ds.training_set()
    vectors = torch.randn(replicates, 5, curvature.weights(state, pruning.full(net, state)).shape[1])
    found, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(curvature.hvp(net, state, x, y, vectors))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])


# Lanczos's method on matrices whose spectrum is known


def matrix(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues, float64."""
    size = len(eigenvalues)
    basis = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(seed), **FLOAT64))[0]
    return (basis * torch.as_tensor(eigenvalues, **FLOAT64)) @ basis.T


def probes(count, size, seed=0):
    return torch.randn(1, count, size, generator=torch.Generator().manual_seed(seed), **FLOAT64)


def test_lanczos_makes_an_orthonormal_basis_in_which_the_matrix_is_tridiagonal():
    h, start = matrix(torch.linspace(-1, 5, 60) ** 3), probes(3, 60)
    basis, alpha, beta = curvature.lanczos(lambda v: v @ h, start, 20)
    assert basis.shape == (1, 3, 20, 60) and alpha.shape == beta.shape == (1, 3, 20)
    assert_close(basis[:, :, 0], F.normalize(start, dim=-1))
    for q, a, b in zip(basis[0], alpha[0], beta[0], strict=True):
        assert_close(q @ q.T, torch.eye(20, **FLOAT64), rtol=0, atol=1e-12)
        assert_close(q @ h @ q.T, torch.diag(a) + torch.diag(b[:-1], 1) + torch.diag(b[:-1], -1), rtol=0, atol=1e-10)
        assert float(b[-1]) == pytest.approx(float(((q @ h)[-1] - q[-1] @ h @ q.T @ q).norm()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_basis_that_closes_early_is_an_exact_spectrum(dtype):
    """Four different eigenvalues, one of them 0, in 30 dimensions: four steps tell all, more must not harm."""
    exact = torch.tensor([3.0] * 15 + [0.0] * 9 + [-1.0] * 5 + [8.0], **FLOAT64)
    h = matrix(exact).to(dtype)
    start = probes(5, 30).to(dtype)
    basis, alpha, beta = curvature.lanczos(lambda v: v @ h, start, 100)
    found = curvature.from_lanczos(basis, alpha, beta)
    assert found.eigenvalues.shape == (1, 5, 30)
    assert_close(found.eigenvalues, exact.sort().values.expand(1, 5, 30), rtol=0, atol=1e-5)
    assert_close(basis @ basis.mT, torch.eye(30, dtype=dtype).expand(1, 5, 30, 30), rtol=0, atol=1e-5)
    shares = (F.normalize(start.double(), dim=-1) @ torch.linalg.eigh(h.double())[1]) ** 2
    rounding = 1e-4 if dtype == torch.float32 else 1e-9
    for value, count in ((3.0, 15), (0.0, 9), (-1.0, 5), (8.0, 1)):
        near = (found.eigenvalues - value).abs() < rounding
        mass = torch.where(near, found.quadrature, 0).sum(2)
        expected = shares[..., (torch.linalg.eigvalsh(h.double()) - value).abs() < rounding].sum(2)
        # every probe finds 8, the only one that is alone in its eigenspace, and the others share the rest
        expected = expected * (29 / 30) / (1 - shares[..., -1]) if count > 1 else torch.full_like(mass, 1 / 30)
        assert_close(mass, expected, rtol=0, atol=rounding)
    assert_close(found.quadrature.sum(2), torch.ones(1, 5, **FLOAT64), rtol=0, atol=1e-12)
    alone = curvature.from_lanczos(*(part[:, :1] for part in (basis, alpha, beta)))  # one probe cannot know
    mass = torch.where((alone.eigenvalues - 8).abs() < rounding, alone.quadrature, 0).sum()
    assert float(mass) == pytest.approx(float(shares[0, 0, -1]), abs=rounding)


def test_probes_too_much_alike_to_know_shares_keep_their_own():
    """All that nearly parallel probes see, each finds; taken as 1/D each, what they do not see would have no share."""
    h = matrix(torch.tensor([-1.0, 0.5, 2.0], **FLOAT64))
    start = torch.tensor([[[1, 0.5, 0.2], [1, 0.5, 0.2001]]], **FLOAT64)
    lanczos = curvature.lanczos(lambda v: v @ h, start, 2)
    found = curvature.from_lanczos(*lanczos)
    for v in range(2):
        alone = curvature.from_lanczos(*(part[:, v : v + 1] for part in lanczos))
        assert_close(found.quadrature[:, v], alone.quadrature[:, 0], rtol=0, atol=0)
    assert_close(found.quadrature.sum(2), torch.ones(1, 2, **FLOAT64), rtol=0, atol=1e-12)


def test_the_moments_are_those_of_the_matrix():
    """Trace and trace of the square, within the standard error of 40 probes; with known shares of the outliers too."""
    exact = torch.cat([torch.linspace(0.01, 1, 190, **FLOAT64), torch.tensor([5, 7, 9, 13.0], **FLOAT64)])
    h = matrix(exact)
    lanczos = curvature.lanczos(lambda v: v @ h, probes(40, 194), 25)
    many = curvature.from_lanczos(*lanczos)
    plain = curvature.Spectrum(*(torch.cat(parts, 1) for parts in zip(
        *(curvature.from_lanczos(*(part[:, v : v + 1] for part in lanczos)) for v in range(40)), strict=True
    )))  # fmt: skip
    for power in (1, 2):
        trace = float((exact**power).mean())
        errors = []
        for found in (plain, many):
            each = (found.eigenvalues**power * found.quadrature).sum(2)[0]
            assert len(each) == 40
            error = float(each.std()) / 40**0.5
            assert abs(float(each.mean()) - trace) < 3 * error
            errors.append(error)
        assert errors[1] < errors[0] / 2  # most of the noise was the four outliers'
    each = (plain.eigenvalues * plain.quadrature).sum(2)[0]  # every probe alone is exact for what it sees
    start = F.normalize(probes(40, 194), dim=-1)[0]
    assert_close(each, ((start @ h) * start).sum(1))


def test_the_nodes_of_all_probes_give_the_smoothed_spectrum():
    exact = torch.cat([torch.linspace(-0.2, 1, 150, **FLOAT64) ** 3, torch.tensor([2.0, 3.0], **FLOAT64)])
    h = matrix(exact)
    found = curvature.from_lanczos(*curvature.lanczos(lambda v: v @ h, probes(30, 152), 60))
    grid, width = torch.linspace(-1, 4, 2001, **FLOAT64), 0.1

    def smoothed(values, shares):
        bells = torch.exp(-((grid[:, None] - values) ** 2) / (2 * width**2)) / (width * (2 * torch.pi) ** 0.5)
        return bells @ shares

    each = torch.stack([smoothed(*pair) for pair in zip(found.eigenvalues[0], found.quadrature[0], strict=True)])
    assert float(torch.trapezoid(each.mean(0), grid)) == pytest.approx(1, abs=1e-6)
    expected, error = smoothed(exact, torch.full_like(exact, 1 / 152)), each.std(0) / 30**0.5
    assert ((each.mean(0) - expected).abs() < 4 * error + 1e-6).all()
    assert float(error.max()) < 0.1 * float(expected.max())
    assert_close(smoothed(*found.nodes(0)), each.mean(0))


def test_spectrum_is_that_of_the_exact_hessian(net, point):
    state, mask, x, y = point
    exact = torch.linalg.eigvalsh(curvature.hessian(net, state, x, y, mask))
    size = exact.shape[1]
    full = curvature.spectrum(net, state, x, y, mask, probes=3, iterations=10**3)
    assert_close(full.eigenvalues, exact[:, None].expand(2, 3, size), rtol=0, atol=1e-9)
    few = curvature.spectrum(net, state, x, y, mask, probes=3, iterations=15, seed=4)
    assert few.eigenvalues.shape == few.quadrature.shape == (2, 3, 15) and few.eigenvalues.dtype == torch.float64
    assert_close(few.quadrature.sum(2), torch.ones(2, 3, **FLOAT64))
    second = [states.select(tree, [1]) for tree in (state, mask)]
    alone = curvature.spectrum(net, second[0], x, y, second[1], probes=3, iterations=15, seed=5)
    assert_close(alone.eigenvalues[0], few.eigenvalues[1])  # replicate 1 of seed 4 is drawn as seed 5


# Bad input


def test_bad_input_says_what_is_wrong(net, point, ds):
    state, mask, x, y = point
    with pytest.raises(ValueError, match="state lacks the entry 'linear.bias'"):
        curvature.hessian(net, {n: t for n, t in state.items() if n != "linear.bias"}, x, y, mask)
    with pytest.raises(ValueError, match=r"y has shape \(60, 1\)"):
        curvature.spectrum(net, state, x, y[:, None], mask)
    with pytest.raises(ValueError, match="mask lacks the entry"):
        curvature.spectrum(net, state, x, y, {net.prunable[0]: mask[net.prunable[0]]})
    with pytest.raises(ValueError, match="seed is 0.5; it must be a whole number"):
        curvature.spectrum(net, state, x, y, mask, seed=0.5)
    with pytest.raises(ValueError, match="r is 2; it must be >= 0 and <= 1"):
        curvature.Spectrum(torch.ones(2, 1, 1), torch.ones(2, 1, 1)).nodes(2)
    wide = torch.ones(2, 1, 3, **FLOAT64)
    with pytest.raises(ValueError, match=r"vectors have shape \(2, 1, 3\) .* here \(2, 1 or more, 70\)"):
        curvature.hvp(net, state, x, y, wide, mask)
    with pytest.raises(ValueError, match=r"vectors have shape \(2, 0, 70\)"):
        curvature.hvp(net, state, x, y, torch.ones(2, 0, 70), mask)
    with pytest.raises(ValueError, match="mask keeps no weight in some replicate"):
        curvature.weights(state, {name: torch.zeros_like(keep) for name, keep in mask.items()})
    uneven = {name: keep.clone() for name, keep in mask.items()}
    uneven[net.prunable[0]][0] = True
    with pytest.raises(ValueError, match=r"the replicates keep \[\d+, 70\] weights; .* with states.select"):
        curvature.spectrum(net, state, x, y, uneven)
    big = networks.build("lenet_300_100", ds)
    with pytest.raises(ValueError, match=r"has 33900 weights.* limited to 10000 weights: use curvature.spectrum"):
        curvature.hessian(big, big.init(1), x.float(), y)
    lost = {name: t.clone() for name, t in state.items()}
    lost[net.prunable[0]][1] = torch.nan
    with pytest.raises(ValueError, match=r"not finite in replicates \[1\]; their training has diverged"):
        curvature.spectrum(net, lost, x, y, mask, iterations=2)
    for name in ("probes", "iterations"):
        with pytest.raises(ValueError, match=f"{name} is 0; it must be >= 1"):
            curvature.spectrum(net, state, x, y, mask, **{name: 0})
