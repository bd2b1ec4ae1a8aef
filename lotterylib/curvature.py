"""Curvature of the training loss around a solution, and how far it lets the solution be pruned.

Everything here is about the mean cross-entropy (nats) on the inputs that are given, in evaluation mode, as a function
of the kept prunable weights alone: biases and BatchNorm stay as they are, pruned weights are zero whatever the state
holds. Vectors are flat, ``(R, V, D)``: D kept weights in the order of the mask's entries. Without a mask all prunable
weights are kept. A mask must keep equally many weights of every replicate.
"""

from typing import NamedTuple

import torch
from torch.func import grad, jvp, vjp
from torch.nn import functional as F

from . import checks, progress, pruning
from .networks import beside, exact
from .states import select

CURVATURES = ("hessian", "gauss_newton")  # what ``hvp`` multiplies with
ORDERS = ("magnitude", "random")  # in which weights are pruned
EXACT = 10_000  # weights: more make an exact Hessian of several hundred MB a replicate


def weights(state, mask):
    """The kept weights, with their signs, ``(R, D)``. Raises ``ValueError`` unless all replicates keep equally many."""
    return _flatten({name: state[name] for name in mask}).gather(1, _kept(mask))


def hvp(net, state, x, y, vectors, mask=None, curvature="hessian"):
    """Multiply the Hessian of every replicate with its ``vectors``: ``(R, V, D)`` to ``(R, V, D)``, in their dtype.

    The matrix is never formed (Pearlmutter 1994). ``x`` ``(N, ...)``, ``y`` ``(N,)``: ready-to-feed training inputs, as
    ``ds.training_set()`` returns them.
    ``curvature="gauss_newton"`` takes the generalized Gauss-Newton matrix ``mean_n J_n^T (diag p_n - p_n p_n^T) J_n``
    instead (Schraudolph 2002), with the logits' Jacobian J and the probabilities p: the Hessian of the network
    linearised in its weights, which has no negative eigenvalue. Raises ``ValueError`` if ``vectors`` are shaped
    otherwise, or a product is not finite.
    """
    checks.choice("curvature", curvature, CURVATURES)
    mask = pruning.full(net, state) if mask is None else mask
    kept = _kept(mask)
    if vectors.dim() != 3 or vectors.shape[::2] != kept.shape:
        raise ValueError(
            f"vectors have shape {tuple(vectors.shape)}; they must be (replicates, any number, kept weights), here "
            f"({len(kept)}, any number, {kept.shape[1]})"
        )
    state = {name: _cast(tensor, vectors.dtype) for name, tensor in pruning.apply(state, mask).items()}
    x = _cast(x, vectors.dtype)
    shapes = {name: state[name].shape[1:] for name in mask}
    kept = kept[:, None].expand_as(vectors)
    spread = vectors.new_zeros(*vectors.shape[:2], sum(shape.numel() for shape in shapes.values()))
    parts = spread.scatter(2, kept, vectors).split([shape.numel() for shape in shapes.values()], 2)
    directions = {name: part.unflatten(2, shapes[name]) for name, part in zip(mask, parts, strict=True)}
    multiply = _hessian_products if curvature == "hessian" else _gauss_newton_products
    chunk = max(1, 4096 // vectors.shape[1])  # examples: small enough for memory, large enough to outweigh each call

    def summed(one, directions, x, y):
        own, total = {name: one[name] for name in mask}, 0
        for xs, ys in zip(x.split(chunk), y.split(chunk), strict=True):

            def logits(weights, xs=xs):
                return net.forward({**one, **weights}, xs, train=False)

            total = total + _flatten(multiply(logits, own, directions, ys))
        return total

    # stacked replicates would leave the cache: beside each other, in parts for all threads, they are faster
    parts = 1 if x.is_cuda else -(-torch.get_num_threads() // len(kept))
    rows = [
        (select(state, r), select(directions, r), *part)
        for r in range(len(kept)) for part in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True)
    ]  # fmt: skip
    with exact():
        total = torch.stack(beside(summed, rows, x.device)).unflatten(0, (-1, parts)).sum(1)
    result = (total / len(y)).gather(2, kept)
    if not result.isfinite().all():
        lost = (~result.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        raise ValueError(f"the loss or its curvature is not finite in replicates {lost}; their training has diverged")
    return result


def hessian(net, state, x, y, mask=None, curvature="hessian"):
    """The exact Hessian of every replicate, symmetric ``(R, D, D)``, in the dtype of the state.

    Raises ``ValueError`` for more than 10,000 weights: ``spectrum`` needs no matrix.
    """
    mask = pruning.full(net, state) if mask is None else mask
    w = weights(state, mask)
    count, size = w.shape
    if size > EXACT:
        raise ValueError(
            f"the network has {size} weights, whose Hessian has {size**2:.2g} entries; the exact one is limited to "
            f"{EXACT} weights: use curvature.spectrum or curvature.top"
        )
    matrix = w.new_empty(count, size, size)
    rows = torch.arange(size, device=w.device).split(64)
    for block in progress.bar(rows, desc=f"Hessian, {matrix.nbytes / 1e6:.0f} MB"):
        basis = torch.zeros(len(block), size, dtype=w.dtype, device=w.device)
        basis[torch.arange(len(block)), block] = 1
        matrix[:, block] = hvp(net, state, x, y, basis.expand(count, -1, -1), mask, curvature)
    return (matrix + matrix.mT) / 2


class Spectrum(NamedTuple):
    """A spectrum as point masses: ``eigenvalues`` and ``quadrature`` (their shares of D), float64 ``(R, V, m)``.

    Each of the V probes is an estimate of its own, whose shares sum to 1.
    """

    eigenvalues: torch.Tensor
    quadrature: torch.Tensor

    def density(self, grid, width):
        """The density of eigenvalues on ``grid`` ``(G,)``, smoothed by Gaussians of standard deviation ``width``.

        Returns the mean over probes and its standard error (NaN for a single probe), each ``(R, G)``. Raises
        ``ValueError`` unless ``width`` > 0.
        """
        checks.within("width", width, 0, open_low=True)
        grid = torch.as_tensor(grid, dtype=torch.float64)
        bells = torch.distributions.Normal(self.eigenvalues[..., None], width).log_prob(grid).exp()
        each = (self.quadrature[..., None] * bells).sum(2)
        return each.mean(1), each.std(1) / each.shape[1] ** 0.5

    def nodes(self, r):
        """All probes of replicate ``r`` as one estimate: eigenvalues and quadrature ``(K,)``, which sums to 1."""
        return self.eigenvalues[r].flatten(), self.quadrature[r].flatten() / self.quadrature.shape[1]


def spectrum(net, state, x, y, mask=None, probes=8, iterations=80, seed=0, curvature="hessian") -> Spectrum:
    """Estimate the spectrum by stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017; Ghorbani et al. 2019).

    Each probe is a random direction; ``iterations`` Hessian-vector products with it place up to as many point masses,
    which match the moments of the spectrum as the probe sees it. Eigenvectors that all of several probes find have the
    share 1/D, known instead of estimated (after Bhattacharjee et al. 2025): that takes most of the noise away from the
    few large eigenvalues. Replicate r is drawn as ``seed + r``. Memory: twice ``R * probes * iterations * D`` numbers.
    Raises ``ValueError`` for fewer than one of either, and as ``hvp`` does.
    """
    checks.whole("probes", probes, 1)
    mask = pruning.full(net, state) if mask is None else mask
    start = _gaussian(weights(state, mask), probes, seed)
    basis, alpha, beta = lanczos(lambda v: hvp(net, state, x, y, v, mask, curvature), start, iterations)
    return from_lanczos(basis, alpha, beta)


def from_lanczos(basis, alpha, beta) -> Spectrum:
    """The spectrum as the probes see it, from what ``lanczos`` returned for them.

    ``basis`` ``(R, V, m, D)``, ``alpha`` and ``beta`` ``(R, V, m)``: the eigenvalues of each tridiagonal matrix, whose
    shares are the squared first components of its eigenvectors, or 1/D where ``spectrum`` says so.
    """
    values, vectors = torch.linalg.eigh(_tridiagonal(alpha, beta))
    shares, size = vectors[..., 0, :] ** 2, basis.shape[-1]
    for r in range(len(basis) if basis.shape[1] > 1 else 0):
        ritz = vectors[r].mT.to(basis) @ basis[r]
        cosine = (ritz[0] @ ritz.mT).abs()
        found = (cosine.amax(2) > 0.999).all(0)  # by independent probes: an eigenvector, and alone in its eigenspace
        known = torch.zeros_like(shares[r], dtype=torch.bool).scatter(1, cosine.argmax(2)[:, found].cpu(), True)
        rest = shares[r].masked_fill(known, 0)
        rest = rest * (1 - known.double().sum(1, keepdim=True) / size) / rest.sum(1, keepdim=True).clamp_min(1e-300)
        shares[r] = torch.where(known, 1 / size, rest)
    return Spectrum(values, shares)


def top(net, state, x, y, mask=None, count=1, iterations=40, seed=0, curvature="hessian"):
    """The ``count`` largest eigenvalues, descending, float64 ``(R, count)``, with their eigenvectors ``(R, count, D)``.

    The residual ``||H v - lambda v||`` of every pair is at most 1e-4 of the largest eigenvalue in size: until it is,
    the ``iterations`` of Lanczos's method (1950) are doubled. Of equal eigenvalues only one may be found. Raises
    ``ValueError`` unless ``count`` is from 1 to D, and as ``hvp`` does.
    """
    mask = pruning.full(net, state) if mask is None else mask
    w = weights(state, mask)
    checks.whole("count", count, 1, w.shape[1])
    iterations = max(count, checks.whole("iterations", iterations, 1))
    start = _gaussian(w, 1, seed)
    while True:
        basis, alpha, beta = lanczos(lambda v: hvp(net, state, x, y, v, mask, curvature), start, iterations)
        values, vectors = (found[:, 0] for found in torch.linalg.eigh(_tridiagonal(alpha, beta)))
        residual = beta[:, 0, -1, None] * vectors[:, -1].abs()
        values, vectors, residual = (found.flip(-1)[..., :count] for found in (values, vectors, residual))
        if iterations >= w.shape[1] or (residual <= 1e-4 * values.abs().amax(1, keepdim=True)).all():
            return values, vectors.mT.to(basis) @ basis[:, 0]
        iterations *= 2


def lanczos(product, start, iterations):
    """Lanczos's method (1950), fully reorthogonalized, for a symmetric ``product`` of ``(R, V, D)`` with every vector.

    Returns the basis ``(R, V, m, D)`` that begins with ``start`` (normalised), and the tridiagonal matrix in it: its
    diagonal and the entries beside it, float64 ``(R, V, m)`` on the CPU, the last of which leads out of the basis. m is
    ``iterations``, or D if that is less. Where the basis closes early it goes on in a random direction: the matrix
    falls into blocks, and only the first has a share in ``start``. Raises ``ValueError`` for ``iterations`` below 1.
    """
    steps = min(checks.whole("iterations", iterations, 1), start.shape[-1])
    basis = start.new_zeros(*start.shape[:2], steps, start.shape[-1])
    alpha, beta = (torch.zeros(basis.shape[:3], dtype=torch.float64) for _ in range(2))

    def outside(image):
        for _ in range(2):  # once leaves rounding errors that grow
            image = image - ((basis @ image[..., None]).mT @ basis)[..., 0, :]
        return image

    vector, largest = start / start.norm(dim=-1, keepdim=True), start.new_zeros(start.shape[:2])
    for j in progress.bar(range(steps), desc="Lanczos"):
        basis[:, :, j] = vector
        image = product(vector)
        alpha[:, :, j] = (vector * image).sum(-1)
        largest, image = torch.maximum(largest, image.norm(dim=-1)), outside(image)
        beta[:, :, j] = length = image.norm(dim=-1)
        closed = length <= 10 * torch.finfo(length.dtype).eps * largest
        if closed.any():
            fresh = _gaussian(image[:, 0], image.shape[1], seed=j)
            image = torch.where(closed[..., None], outside(fresh), image)
        vector = image / image.norm(dim=-1, keepdim=True)
    return basis, alpha, beta


def angular_dimension(eigenvalues, distance, epsilon, quadrature=None) -> float:
    """A closed form for the local angular dimension of the well ``{v: v^T H v / 2 <= epsilon}`` from ``distance``.

    The local angular dimension is the well's squared Gaussian width, as seen from there, as a share of D. The closed
    form of Larsen et al. (2022), ``sum_i q_i r_i^2 / (distance^2 + r_i^2)`` with ``r_i^2 = 2 epsilon / lambda_i``,
    approximates it; simulated random subspaces lose the well a little above it (``limits.meeting``). In a direction
    with lambda <= 0 the well has no end, and r_i^2 / (distance^2 + r_i^2) is 1. ``eigenvalues`` ``(K,)``;
    ``quadrature`` ``(K,)`` are their shares of D, by default equal ones. Raises ``ValueError`` if no eigenvalue is
    positive, ``quadrature`` does not sum to 1, epsilon is not positive or ``distance`` negative.
    """
    checks.within("distance", distance, 0)
    values, shares = _checked(eigenvalues, epsilon, quadrature)
    return float(shares @ (2 * epsilon / (values * distance**2 + 2 * epsilon)))


def gordon_fraction(eigenvalues, weights, epsilon, quadrature=None, order="magnitude") -> float:
    """The largest fraction of the ``weights`` ``(D,)`` that can be pruned, as predicted after Gordon's escape theorem.

    The theorem (1988): a random subspace through a point *misses* a set once it has more conditions than the set's
    squared Gaussian width, as seen from the point. For the well ``{v: v^T H v / 2 <= epsilon}`` Larsen et al. (2022)
    approximate that width by a closed form, ``angular_dimension``. Pruning a share p of the weights puts p D conditions
    at distance R(p) from the solution; the result is the p at which they reach the closed form (our
    reconstruction of Paul et al. 2023). R(p) is the length of the weights that go: the smallest first, or of a random
    choice, ``R^2 = p ||w||^2`` as expected.

    ``eigenvalues`` ``(K,)`` have the shares ``quadrature`` ``(K,)``, by default the exact spectrum, K = D; ``epsilon``
    is in nats. Raises ``ValueError`` as ``angular_dimension`` does, for weights that are not finite, and without
    ``quadrature`` unless K = D.
    """
    checks.choice("order", order, ORDERS)
    squares = torch.as_tensor(weights, dtype=torch.float64).flatten() ** 2
    if not squares.isfinite().all():
        raise ValueError("weights hold values that are not finite; the training may have diverged")
    if quadrature is None and len(eigenvalues) != len(squares):
        raise ValueError(
            f"there are {len(eigenvalues)} eigenvalues and {len(squares)} weights; without quadrature the spectrum "
            "must be exact, one eigenvalue for each weight"
        )
    values, shares = _checked(eigenvalues, epsilon, quadrature)
    squares = squares.sort().values if order == "magnitude" else squares.mean().expand(len(squares))
    sums = torch.cat([squares.new_zeros(1), squares.cumsum(0)])
    low, high = 0.0, 1.0
    for _ in range(40):
        fraction = (low + high) / 2
        whole, part = divmod(fraction * len(squares), 1)
        distance = float(sums[int(whole)] + part * squares[int(whole)]) ** 0.5
        if fraction < angular_dimension(values, distance, epsilon, shares):
            low = fraction
        else:
            high = fraction
    return high


def _checked(eigenvalues, epsilon, quadrature):
    """Eigenvalues, none below 0, and their shares, float64 on the CPU."""
    checks.within("epsilon", epsilon, 0, float("inf"), open_low=True, open_high=True)
    values = torch.as_tensor(eigenvalues, dtype=torch.float64).cpu()
    if not values.isfinite().all():
        raise ValueError("eigenvalues hold values that are not finite; the training may have diverged")
    if not (values > 0).any():
        raise ValueError("no eigenvalue is positive: the point is no minimum, and nothing limits the pruning")
    if quadrature is None:
        return values.clamp_min(0), torch.full_like(values, 1 / len(values))
    shares = torch.as_tensor(quadrature, dtype=torch.float64).cpu()
    if shares.shape != values.shape:
        raise ValueError(
            f"quadrature has shape {tuple(shares.shape)} and eigenvalues {tuple(values.shape)}; they must be equal"
        )
    if not abs(float(shares.sum()) - 1) < 1e-4:
        raise ValueError(f"quadrature sums to {float(shares.sum()):.6g}; it must sum to 1: take nodes(r) of a spectrum")
    return values.clamp_min(0), shares


def _hessian_products(logits, weights, directions, y):
    """Hessian of the summed cross-entropy times every direction; reverse over reverse is the fastest under vmap."""
    _, pull = vjp(grad(lambda w: F.cross_entropy(logits(w), y, reduction="sum")), weights)
    return torch.vmap(lambda direction: pull(direction)[0])(directions)


def _gauss_newton_products(logits, weights, directions, y):
    outputs, pull = vjp(logits, weights)
    p = outputs.softmax(-1)

    def one(direction):
        change = p * jvp(logits, (weights,), (direction,))[1]
        return pull(change - p * change.sum(-1, keepdim=True))[0]

    return torch.vmap(one)(directions)


def _flatten(tree):
    """Join the entries of a tree ``(B, ...)`` to ``(B, P)``."""
    return torch.cat([tensor.flatten(1) for tensor in tree.values()], 1)


def _kept(mask):
    """Places of the kept weights among all of the mask's entries, ``(R, D)``."""
    counts = pruning.remaining(mask)
    if (counts == 0).any():
        raise ValueError("mask keeps no weight in some replicate; there is nothing to take the curvature of")
    if (counts != counts[0]).any():
        raise ValueError(
            f"the replicates keep {counts.tolist()} weights; they must keep equally many: take them one by one, with "
            "states.select"
        )
    return _flatten(mask).nonzero()[:, 1].view(len(counts), -1)


def _gaussian(w, count, seed):
    """Random vectors ``(R, count, D)`` of the kind of ``w``, drawn on the CPU, so alike on every device."""
    generators = [torch.Generator().manual_seed(seed + r) for r in range(len(w))]
    return torch.stack([torch.randn(count, w.shape[1], generator=g) for g in generators]).to(w)


def _cast(tensor, dtype):
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _tridiagonal(alpha, beta):
    beside = torch.diag_embed(beta[..., :-1], 1)
    return torch.diag_embed(alpha) + beside + beside.mT
