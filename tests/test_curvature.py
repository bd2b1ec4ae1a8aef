"""Curvature against autograd, a second library, matrices whose spectrum is known, and simulated wells."""

import curvlinops
import pytest
import torch
import twins
from torch.nn import functional as F
from torch.testing import assert_close

from lotterylib import curvature, networks, pruning, states, training

FLOAT64 = {"dtype": torch.float64}


@pytest.fixture(scope="module")
def point(net, ds):
    """Two replicates after a few steps, with masks of their own, and 60 examples; float64."""
    recipe = training.Recipe(steps=20, batch_size=40, lr=0.1, momentum=0.9)
    state = training.train(net, net.init(2, seed=1), ds, recipe)
    mask = pruning.random(state, pruning.full(net, state), 0.5, seed=2)
    x, y = ds.batch(torch.arange(60))
    return twins.double(state), mask, x.double(), y


def by_hand(net, point, kind, r):
    """The curvature of one replicate, in its kept weights, from autograd alone."""
    state, mask, x, y = point
    one, keep = twins.part(state, r), torch.cat([mask[name][r].flatten() for name in mask])
    dense = torch.cat([one[name].flatten() for name in mask]) * keep
    sizes = [one[name].numel() for name in mask]
    module = net.make().double().eval()

    def logits(kept):
        parts = dense.masked_scatter(keep, kept).split(sizes)
        shaped = {name: part.view_as(one[name]) for name, part in zip(mask, parts, strict=True)}
        return torch.func.functional_call(module, {**one, **shaped}, (x,))

    if kind == "hessian":
        return torch.autograd.functional.hessian(lambda kept: F.cross_entropy(logits(kept), y), dense[keep])
    jacobian = torch.autograd.functional.jacobian(logits, dense[keep])
    p = logits(dense[keep]).softmax(-1).detach()
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    return torch.einsum("nci,ncd,ndj->ij", jacobian, middle, jacobian) / len(y)


@pytest.mark.parametrize("kind", curvature.CURVATURES)
def test_the_exact_hessian_is_autograds(net, point, kind):
    state, mask, x, y = point
    found = curvature.hessian(net, state, x, y, mask, kind)
    for r in range(2):
        assert_close(found[r], by_hand(net, point, kind, r), rtol=1e-10, atol=1e-14)
    assert torch.equal(found, found.mT)
    difference = (by_hand(net, point, "hessian", 0) - by_hand(net, point, "gauss_newton", 0)).abs().max()
    assert float(difference) > 1e-3  # the two are told apart
    vectors = torch.randn(2, 50, found.shape[1], **FLOAT64)  # so many that the examples come in three chunks
    products = curvature.hvp(net, state, x, y, vectors, mask, kind)
    assert_close(products, vectors @ found, rtol=1e-10, atol=1e-12)
    single = curvature.hvp(net, state, x, y, vectors.float(), mask, kind)
    assert single.dtype == torch.float32
    assert_close(single.double(), products, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("kind", "operator"), [("hessian", "Hessian"), ("gauss_newton", "GGN")])
def test_the_products_are_those_of_curvlinops(net, point, kind, operator):
    """Without a mask; curvlinops takes the mean over two batches."""
    state, _, x, y = point
    size = sum(state[name][0].numel() for name in net.prunable)
    vectors = torch.randn(2, 3, size, **FLOAT64)
    found = curvature.hvp(net, state, x, y, vectors, curvature=kind)
    for r in range(2):
        module = twins.module(net, state, r).eval()
        parameters = [module.get_parameter(name) for name in net.prunable]
        batches = [(x[:30], y[:30]), (x[30:], y[30:])]
        make = getattr(curvlinops, f"{operator}LinearOperator")
        matrix = make(module, torch.nn.CrossEntropyLoss(), parameters, batches)
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
        assert_close(found[r], by_hand(net, (state, mask, x, y), "hessian", r), rtol=1e-9, atol=1e-13)


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


def test_the_density_integrates_to_one_and_is_the_smoothed_spectrum():
    exact = torch.cat([torch.linspace(-0.2, 1, 150, **FLOAT64) ** 3, torch.tensor([2.0, 3.0], **FLOAT64)])
    h = matrix(exact)
    found = curvature.from_lanczos(*curvature.lanczos(lambda v: v @ h, probes(30, 152), 60))
    grid, width = torch.linspace(-1, 4, 2001, **FLOAT64), 0.1
    mean, error = found.density(grid, width)
    assert mean.shape == error.shape == (1, 2001)
    assert float(torch.trapezoid(mean[0], grid)) == pytest.approx(1, abs=1e-6)
    bells = torch.exp(-((grid[:, None] - exact) ** 2) / (2 * width**2)) / (width * (2 * torch.pi) ** 0.5)
    smoothed = bells.mean(1)
    assert ((mean[0] - smoothed).abs() < 4 * error[0] + 1e-6).all()
    assert float(error.max()) < 0.1 * float(mean.max())
    values, shares = found.nodes(0)
    assert_close((bells.new_tensor(1.0) * shares).sum(), torch.tensor(1.0, **FLOAT64))
    every = torch.exp(-((grid[:, None] - values) ** 2) / (2 * width**2)) / (width * (2 * torch.pi) ** 0.5) @ shares
    assert_close(every, mean[0])
    assert found.density([0.0], 0.1)[0].shape == (1, 1)


def test_spectrum_and_top_are_those_of_the_exact_hessian(net, point):
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
    convex = curvature.spectrum(net, state, x, y, mask, probes=2, iterations=size, curvature="gauss_newton")
    assert float(convex.eigenvalues.min()) > -1e-12 > float(exact.min())

    values, vectors = curvature.top(net, state, x, y, mask, count=3, iterations=2)  # too few: they are doubled
    assert_close(values, exact[:, -3:].flip(1), rtol=1e-6, atol=0)
    product = curvature.hvp(net, state, x, y, vectors, mask)
    residual = (product - values[..., None] * vectors).norm(dim=2)
    assert (residual <= 1.01e-4 * values[:, :1]).all()
    assert_close(vectors @ vectors.mT, torch.eye(3, **FLOAT64).expand(2, 3, 3), rtol=0, atol=1e-9)
    single = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    assert_close(curvature.top(net, single, x, y, mask)[0], exact[:, -1:], rtol=1e-4, atol=0)


# Gordon's escape theorem


@pytest.mark.parametrize("order", curvature.ORDERS)
def test_equal_eigenvalues_and_weights_make_a_quadratic_equation(order):
    """``p (lambda D a^2 p + 2 epsilon) = 2 epsilon``."""
    size, eigenvalue, weight, epsilon = 50, 0.7, 0.3, 0.2
    c = eigenvalue * size * weight**2
    solution = (-2 * epsilon + ((2 * epsilon) ** 2 + 8 * epsilon * c) ** 0.5) / (2 * c)
    eigenvalues, weights = torch.full((size,), eigenvalue), torch.full((size,), -weight)
    assert curvature.gordon_fraction(eigenvalues, weights, epsilon, order=order) == pytest.approx(solution, abs=1e-6)


def brute_force(eigenvalues, weights, epsilon, order):
    """The first of many fractions at which the subspace is expected to miss the well."""
    total = torch.cat([torch.zeros(1, **FLOAT64), (weights**2).sort().values.cumsum(0)]).tolist()
    for i in range(20001):
        p = i / 20000
        at, part = divmod(p * len(weights), 1)
        squared = p * total[-1]
        if order == "magnitude":
            squared = total[int(at)] + (part * (total[int(at) + 1] - total[int(at)]) if part else 0)
        radii = [2 * epsilon / v if v > 0 else float("inf") for v in eigenvalues.tolist()]
        shares = [1 if r == float("inf") else r / (squared + r) for r in radii]
        if p >= sum(shares) / len(shares):
            return p


def test_the_fraction_is_where_dimension_and_well_meet():
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(40, generator=generator, **FLOAT64)
    eigenvalues = torch.randn(40, generator=generator, **FLOAT64) ** 3  # a good part of them negative
    found = {}
    for order in curvature.ORDERS:
        found[order] = curvature.gordon_fraction(eigenvalues, weights, 0.05, order=order)
        assert found[order] == pytest.approx(brute_force(eigenvalues, weights, 0.05, order), abs=1e-4)
    assert found["magnitude"] > found["random"] + 0.05  # the smallest weights are nearer
    values, counts = torch.tensor([-0.3, 0.5, 2.0]), torch.tensor([10, 25, 5])
    exact = curvature.gordon_fraction(values.repeat_interleave(counts), weights, 0.05)
    assert curvature.gordon_fraction(values, weights, 0.05, counts / 40) == pytest.approx(exact, abs=1e-9)
    growing = [curvature.gordon_fraction(eigenvalues, weights, 10.0**e) for e in range(-6, 9)]
    assert growing == sorted(growing) and len(set(growing)) == 15
    assert growing[-1] == pytest.approx(1, abs=1e-5)
    assert curvature.gordon_fraction(eigenvalues, weights, 1e30) == 1
    flat = float((eigenvalues <= 0).double().mean())  # nothing stops pruning there, however small epsilon is
    assert growing[0] == pytest.approx(flat, abs=0.03)


@pytest.mark.parametrize("distance", [1.0, 3.0, 10.0, 30.0])
def test_random_subspaces_meet_a_well_as_the_theorem_says(distance):
    """A quadratic well in 400 dimensions, and k random linear conditions C v = c = C x0 on v.

    The least loss is c^T (C H^-1 C^T)^-1 c / 2, which one Cholesky factor gives for all k. Random matrix theory says
    exactly where it crosses epsilon as D grows: at the share p = mean(r_i^2 / ((1 - p) R^2 + r_i^2)). The closed form,
    without the factor 1 - p, says a bit less, and the same where p is small.
    """
    size, epsilon, count = 400, 0.5, 60
    eigenvalues = torch.logspace(-3, 2, size, **FLOAT64)
    generator = torch.Generator().manual_seed(1)
    critical = []
    for _ in range(count):
        conditions = torch.randn(size, size, generator=generator, **FLOAT64)
        start = F.normalize(torch.randn(size, generator=generator, **FLOAT64), dim=0) * distance
        factor = torch.linalg.cholesky(conditions / eigenvalues @ conditions.T)
        solved = torch.linalg.solve_triangular(factor, (conditions @ start)[:, None], upper=False)[:, 0]
        critical.append(int((solved.square().cumsum(0) / 2 <= epsilon).sum()) / size)
    simulated = float(torch.tensor(critical).median())
    error = 1.25 * float(torch.tensor(critical).std()) / count**0.5 + 1 / size
    exact = 0.0
    for _ in range(500):
        exact = float((1 / (1 + eigenvalues * (1 - exact) * distance**2 / (2 * epsilon))).mean())
    assert simulated == pytest.approx(exact, abs=2 * error)
    promised = curvature.angular_dimension(eigenvalues, distance, epsilon)
    assert 0.85 * exact < promised < exact
    if distance == 30:
        assert simulated == pytest.approx(promised, abs=2 * error)


# Bad input


def test_bad_input_says_what_is_wrong(net, point, ds):
    state, mask, x, y = point
    wide = torch.ones(2, 1, 3, **FLOAT64)
    with pytest.raises(ValueError, match=r"vectors have shape \(2, 1, 3\); they must be .* here \(2, any number, 70\)"):
        curvature.hvp(net, state, x, y, wide, mask)
    with pytest.raises(ValueError, match="curvature is 'fisher', which is unknown; allowed are 'hessian', 'gauss_new"):
        curvature.hessian(net, state, x, y, mask, "fisher")
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
    for name, value in (("count", 0), ("count", 71), ("iterations", 0)):
        with pytest.raises(ValueError, match=f"{name} is {value}; it must be >= 1"):
            curvature.top(net, state, x, y, mask, **{name: value})
    with pytest.raises(ValueError, match="width is 0; it must be > 0"):
        curvature.Spectrum(torch.ones(1, 1, 1), torch.ones(1, 1, 1)).density([0.0], 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 0}, "epsilon is 0; it must be > 0"),
        ({"epsilon": float("nan")}, "epsilon is nan"),
        ({"order": "largest"}, "order is 'largest', which is unknown; allowed are 'magnitude', 'random'"),
        ({"weights": [1.0, float("nan")]}, "weights hold values that are not finite"),
        ({"weights": [1.0, 2.0, 3.0]}, "there are 2 eigenvalues and 3 weights; without quadrature"),
        ({"eigenvalues": [1.0, float("nan")]}, "eigenvalues hold values that are not finite"),
        ({"eigenvalues": [0.0, -1.0]}, "no eigenvalue is positive"),
        ({"quadrature": [0.5, 0.6]}, r"quadrature sums to 1\.1; it must sum to 1"),
        ({"quadrature": [1.0]}, r"quadrature has shape \(1,\) and eigenvalues \(2,\); they must be equal"),
    ],
)
def test_a_bad_prediction_says_what_is_wrong(change, message):
    good = {"eigenvalues": [1.0, 2.0], "weights": [1.0, 2.0], "epsilon": 0.1}
    assert 0 < curvature.gordon_fraction(**good) < 1
    with pytest.raises(ValueError, match=message):
        curvature.gordon_fraction(**{**good, **change})


def test_a_negative_distance_is_none():
    with pytest.raises(ValueError, match=r"distance is -1\.0; it must be >= 0"):
        curvature.angular_dimension([1.0], -1.0, 0.1)
