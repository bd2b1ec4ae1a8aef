"""A predicted fraction from published weights, by plain torch and numpy: nothing above the last test uses lotterylib.

The network is one of torch's own layers, its exact Hessian comes from two backward passes of ``torch.autograd``, and
the fraction from a loop over numbers of pruned weights.
"""

import numpy as np
import plain
import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

EXAMPLES = 250  # of the training set, the first: the loss whose curvature both sides take
EPSILON = 0.02  # nats


def published(preset):
    """Weights and mask of the sparsest level's first replicate at the last rewind step, and its row in the file."""
    folder, about = plain.published(preset)
    level = max(int(path.stem.removeprefix("level_")) for path in folder.glob("level_*.safetensors"))
    row = (len(about["rewind_step"]) - 1) * about["replicates"]
    weights, mask = ({n: torch.as_tensor(a) for n, a in part.items()} for part in plain.solution(preset, level, row))
    return weights, mask, row


def hessian(weights, mask, x, y):
    """Of the mean cross-entropy in the surviving weights, ``(D, D)``, and these weights, in float64."""
    fixed = {name: tensor.double() for name, tensor in weights.items()}
    kept = torch.cat([fixed[name][keep] for name, keep in mask.items()]).requires_grad_()
    parts = kept.split([int(keep.sum()) for keep in mask.values()])
    placed = {
        name: torch.zeros(keep.shape, dtype=torch.float64).masked_scatter(keep, part)
        for (name, keep), part in zip(mask.items(), parts, strict=True)
    }
    logits = functional_call(plain.network(weights), plain.laid({**fixed, **placed}), (x,))
    (slope,) = torch.autograd.grad(F.cross_entropy(logits, y), kept, create_graph=True)
    rows = [torch.autograd.grad(entry, kept, retain_graph=True)[0] for entry in slope]
    return torch.stack(rows).numpy(), kept.detach().numpy()


def fraction(eigenvalues, weights, epsilon, by_magnitude):
    """The first share of pruned weights at which the subspace is expected to miss the well."""
    squares = np.sort(weights**2) if by_magnitude else np.full(len(weights), (weights**2).mean())
    for count in range(len(weights) + 1):
        radius = squares[:count].sum()
        dimension = np.mean([2 * epsilon / (radius * v + 2 * epsilon) if v > 0 else 1.0 for v in eigenvalues])
        if count / len(weights) >= dimension:
            return count / len(weights)


@pytest.mark.parametrize("preset", plain.PRESETS)
def test_a_predicted_fraction_follows_from_the_published_weights(preset):
    weights, mask, column = published(preset)
    x, y = (plain.mnist1d()[part][:EXAMPLES] for part in ("x", "y"))
    matrix, kept = hessian(weights, mask, x, y)
    assert len(kept) < 700 and np.allclose(matrix, matrix.T, atol=1e-8)
    values = np.linalg.eigvalsh(matrix)

    from lotterybook import experiment
    from lotterylib import curvature, limits
    from lotterylib.states import select

    setup = experiment.setup(preset, device="cpu")
    level = setup.run()[-1]
    state, keep = select(level.state, [column]), select(level.mask, [column])
    inputs, labels = (each[:EXAMPLES] for each in setup.ds.training_set())
    assert torch.allclose(inputs.double(), x, atol=1e-4) and torch.equal(labels, y)
    library = torch.linalg.eigvalsh(curvature.hessian(setup.net(), state, inputs, labels, keep)[0].double())
    assert np.allclose(values[-10:], library[-10:], rtol=1e-3)
    for order in limits.ORDERS:
        mine = fraction(values, kept, EPSILON, order == "magnitude")
        theirs = limits.gordon_fraction(library, curvature.weights(state, keep)[0], EPSILON, order=order)
        assert 0.05 < mine < 0.95 and theirs == pytest.approx(mine, abs=1.5 / len(kept)), order
