"""Curvature around a solution: of the mean cross-entropy (nats) on given inputs, in evaluation mode.

It is a function of the kept prunable weights alone, without a mask of all: biases and BatchNorm stay as they are,
pruned weights are zero. Vectors are flat, ``(R, V, D)``: D kept weights in the order of the mask's entries, equally
many of every replicate. Eigenvalues, quadrature and Lanczos's tridiagonal matrix are float64 on the CPU.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad, vjp
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import checks, limits, progress, pruning
from .networks import Network, beside, exact
from .states import Mask, State, check_mask, select

EXACT = 10_000  # weights: more make an exact Hessian of several hundred MB a replicate

angular_dimension, gordon_fraction = limits.angular_dimension, limits.gordon_fraction  # names that they had before


def weights(state: State, mask: Mask) -> Tensor:
    """The kept weights, with their signs, ``(R, D)``. Raises ``ValueError`` unless all replicates keep equally many."""
    check_mask(state, mask)
    return _flatten({name: state[name] for name in mask}).gather(1, _kept(mask))


def hvp(net: Network, state: State, x: Tensor, y: Tensor, vectors: Tensor, mask: Mask | None = None) -> Tensor:
    """Multiply the Hessian of every replicate with its ``vectors``: ``(R, V, D)`` to ``(R, V, D)``, in their dtype.

    The matrix is never formed (Pearlmutter 1994). ``x``, ``y``: inputs and labels as ``ds.training_set()`` has them.
    Raises ``ValueError`` for other shapes, a product that is not finite, or what torch cannot differentiate twice.
    """
    mask, w = _checked(net, state, mask, x, y)
    checks.kind("vectors", vectors, Tensor)
    if not vectors.is_floating_point() or vectors.dim() != 3 or vectors.shape[::2] != w.shape or not vectors.shape[1]:
        found = f"vectors have shape {tuple(vectors.shape)} and type {vectors.dtype}"
        raise ValueError(f"{found}; they must be floats (R, V, D), here ({len(w)}, 1 or more, {w.shape[1]})")
    kind, kept = vectors.dtype, _kept(mask)[:, None].expand_as(vectors)
    state = {n: t.to(kind) if t.is_floating_point() else t for n, t in pruning.apply(state, mask).items()}
    shapes = {name: state[name].shape[1:] for name in mask}
    sizes = [shape.numel() for shape in shapes.values()]
    spread = vectors.new_zeros(*vectors.shape[:2], sum(sizes)).scatter(2, kept, vectors).split(sizes, 2)
    directions = {name: part.unflatten(2, shapes[name]) for name, part in zip(mask, spread, strict=True)}
    # examples at a time: few enough for a GPU's memory, or a CPU's cache, and enough to outweigh each call
    most = 4096 if x.is_cuda else min(4096, 50_000 // x[0].numel())
    chunk = max(1, most // vectors.shape[1])

    def summed(one, directions, x, y):
        """The products of one replicate's Hessian of the loss summed over examples, ``(V, P)``."""
        own, total = {name: one[name] for name in mask}, 0
        for xs, ys in zip(x.split(chunk), y.split(chunk), strict=True):

            def loss(weights, xs=xs, ys=ys):
                return F.cross_entropy(net.forward({**one, **weights}, xs, train=False), ys, reduction="sum")

            try:
                total = total + _flatten(_products(loss, own, directions))
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                found = f"torch cannot differentiate the network twice: {error}"
                raise ValueError(f"{found}; its forward must use other operators") from error
        return total

    # stacked replicates would leave the cache: beside each other they are faster, at least two parts at a time; their
    # number does not depend on that of threads, so that rounding does not either
    parts = 1 if x.is_cuda or len(kept) > 1 or len(y) == 1 else 2
    examples = list(zip(x.tensor_split(parts), y.tensor_split(parts), strict=True))
    rows = [(select(state, r), select(directions, r), *part) for r in range(len(kept)) for part in examples]
    recurrent = any(isinstance(m, nn.RNNBase) for m in net.module.modules())
    with exact(not recurrent), sdpa_kernel(SDPBackend.MATH), torch.enable_grad():  # attention to differentiate twice
        total = torch.stack(beside(summed, rows, x.device)).unflatten(0, (-1, parts)).sum(1)
    result = (total / len(y)).gather(2, kept)
    if not result.isfinite().all():
        lost = (~result.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
        raise ValueError(f"the loss or its curvature is not finite in replicates {lost}; their training has diverged")
    return result


def hessian(net: Network, state: State, x: Tensor, y: Tensor, mask: Mask | None = None) -> Tensor:
    """The exact Hessian ``(R, D, D)`` in the state's dtype. Raises ``ValueError`` for D > 10,000, and as ``hvp``."""
    mask, w = _checked(net, state, mask, x, y)
    count, size = w.shape
    if size > EXACT:
        raise ValueError(f"mask has {size} weights; this is limited to {EXACT} weights: use curvature.spectrum")
    matrix = w.new_empty(count, size, size)
    rows = torch.arange(size, device=w.device).split(64)
    for block in progress.bar(rows, desc=f"Hessian, {matrix.nbytes / 1e6:.0f} MB"):
        basis = F.one_hot(block, size).to(w).expand(count, -1, -1)
        matrix[:, block] = hvp(net, state, x, y, basis, mask)
    return (matrix + matrix.mT) / 2


class Spectrum(NamedTuple):
    """Point masses as each of V probes sees them: ``eigenvalues`` and their shares of D, float64 ``(R, V, m)``."""

    eigenvalues: Tensor
    quadrature: Tensor

    def nodes(self, r: int) -> tuple[Tensor, Tensor]:
        """All probes of replicate ``r`` as one: eigenvalues and quadrature ``(K,)``. Raises if there is none such."""
        checks.whole("r", r, 0, len(self.eigenvalues) - 1)
        return self.eigenvalues[r].flatten(), self.quadrature[r].flatten() / self.quadrature.shape[1]


def spectrum(net: Network, state: State, x, y, mask: Mask | None = None, probes=8, iterations=80, seed=0) -> Spectrum:
    """Estimate the spectrum by stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017; Ghorbani et al. 2019).

    Each probe is a random direction; ``iterations`` Hessian-vector products with it place up to as many point masses,
    which match the moments of the spectrum as the probe sees it. Eigenvectors that all of several probes find have the
    share 1/D, known instead of estimated (after Bhattacharjee et al. 2025). Replicate r is drawn as ``seed + r``.
    Memory: twice ``R * probes * iterations * D`` numbers. Raises ``ValueError`` for fewer than one, and as ``hvp``.
    """
    checks.whole("probes", probes, 1)
    mask, w = _checked(net, state, mask, x, y)
    start = _gaussian(w, probes, seed)
    return from_lanczos(*lanczos(lambda v: hvp(net, state, x, y, v, mask), start, iterations))


def from_lanczos(basis: Tensor, alpha: Tensor, beta: Tensor) -> Spectrum:
    """The spectrum as the probes see it: the eigenvalues of each tridiagonal matrix that ``lanczos`` returned.

    Their shares are the squared first components of its eigenvectors, or 1/D where ``spectrum`` says so.
    """
    values, vectors = torch.linalg.eigh(tridiagonal(alpha, beta))
    shares, size = vectors[..., 0, :] ** 2, basis.shape[-1]
    for r in range(len(basis) if basis.shape[1] > 1 else 0):
        ritz = vectors[r].mT.to(basis) @ basis[r]
        cosine = (ritz[0] @ ritz.mT).abs()
        found = (cosine.amax(2) > 0.999).all(0)  # by independent probes: an eigenvector, and alone in its eigenspace
        if found.all() and len(found) < size:  # nothing is left to bear the share of the other eigenvalues
            continue
        known = torch.zeros_like(shares[r], dtype=torch.bool).scatter(1, cosine.argmax(2)[:, found].cpu(), True)
        rest = shares[r].masked_fill(known, 0)
        rest = rest * (1 - known.double().sum(1, keepdim=True) / size) / rest.sum(1, keepdim=True).clamp_min(1e-300)
        shares[r] = torch.where(known, 1 / size, rest)
    return Spectrum(values, shares)


def lanczos(product, start: Tensor, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lanczos's method (1950), fully reorthogonalized, for a symmetric ``product`` of ``(R, V, D)`` with every vector.

    Returns the basis ``(R, V, m, D)`` that begins with ``start`` (normalised), and the tridiagonal matrix in it: its
    diagonal and the entries beside it, ``(R, V, m)``, the last of which leads out of the basis. m is ``iterations``, or
    D if that is less. A basis that closes early goes on in a random direction: the matrix falls into blocks, of which
    only the first has a share in ``start``. Raises ``ValueError`` for ``iterations`` below 1.
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


def tridiagonal(alpha: Tensor, beta: Tensor) -> Tensor:
    """The matrix ``(R, V, m, m)`` of the diagonal and the entries beside it that ``lanczos`` returned."""
    beside = torch.diag_embed(beta[..., :-1], 1)
    return torch.diag_embed(alpha) + beside + beside.mT


def _checked(net, state, mask, x, y):
    """The mask, by default that which keeps all prunable weights, and what it keeps, after a check of all that came."""
    checks.kind("net", net, Network).check(state, mask, checks.kind("x", x, Tensor), y)
    mask = pruning.full(net, state) if mask is None else mask
    return mask, weights(state, mask)


def _products(loss, weights, directions):
    """The Hessian of ``loss`` times every direction: at once, or, where torch has no rule for that, one by one."""
    _, pull = vjp(grad(loss), weights)  # reverse over reverse is the fastest under vmap
    try:
        return torch.vmap(lambda direction: pull(direction)[0])(directions)
    except RuntimeError:
        count = len(next(iter(directions.values())))
    each = [pull(select(directions, v))[0] for v in range(count)]
    return {name: torch.stack([one[name] for one in each]) for name in weights}


def _flatten(tree):
    """Join the entries of a tree ``(B, ...)`` to ``(B, P)``."""
    return torch.cat([tensor.flatten(1) for tensor in tree.values()], 1)


def _kept(mask):
    """Places of the kept weights among all of the mask's entries, ``(R, D)``."""
    counts = pruning.remaining(mask)
    if (counts == 0).any():
        raise ValueError("mask keeps no weight in some replicate; there is nothing to take the curvature of")
    if (counts != counts[0]).any():
        found = f"the replicates keep {counts.tolist()} weights"
        raise ValueError(f"{found}; they must keep equally many: take them one by one, with states.select")
    return _flatten(mask).nonzero()[:, 1].view(len(counts), -1)


def _gaussian(w, count, seed):
    """Random vectors ``(R, count, D)`` of the kind of ``w``, drawn on the CPU, so alike on every device."""
    return pruning.noise({"": w[:, None].expand(-1, count, -1)}, seed, torch.randn)[""].to(w)
