"""What is counted about magnitudes, on weights made by hand and against numpy."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lotterybook.retraining import magnitudes
from lotterylib import pruning


def made(*rows):
    """A state of one layer: the rows are replicates."""
    return {"w": torch.tensor(rows, dtype=torch.float64)}


BEFORE = {"w": torch.tensor([[True] * 6, [True] * 6])}
AFTER = {"w": torch.tensor([[False, False, True, True, True, True], [True, True, True, True, False, False]])}
SOLUTION = made([0.1, -0.2, 0.5, -0.6, 0.7, 0.8], [1.0, 2.0, -3.0, 4.0, 0.3, -0.4])


def test_the_threshold_is_the_largest_that_was_pruned():
    assert_close(magnitudes.threshold(SOLUTION, BEFORE, AFTER), torch.tensor([0.2, 0.4], dtype=torch.float64))
    with pytest.raises(ValueError, match="something must be pruned between them"):
        magnitudes.threshold(SOLUTION, BEFORE, BEFORE)


def test_a_projection_has_nothing_below_the_threshold_and_retraining_refills_it():
    limit = magnitudes.threshold(SOLUTION, BEFORE, AFTER)
    assert magnitudes.refilled(SOLUTION, AFTER, limit).tolist() == [0, 0]
    retrained = made([9, 9, 0.1, -0.2, 0.19, 0.8], [0.5, 2.0, -3.0, 0.0, 9, 9])  # 3 of 4, and 1 of 4
    assert magnitudes.refilled(retrained, AFTER, limit).tolist() == [0.75, 0.25]


def test_the_histogram_is_numpys(net):
    state = net.init(2, seed=1)
    mask = pruning.random(state, pruning.full(net, state), 0.3, seed=2)
    edges = np.concatenate([[0], np.logspace(-3, 1, 20)])
    found = magnitudes.histogram(state, mask, edges)
    for r in range(2):
        weights = torch.cat([state[n][r][keep[r]] for n, keep in mask.items()]).abs().double().numpy()
        assert np.allclose(found[r], np.histogram(weights, edges)[0] / len(weights))
        assert float(found[r].sum()) == pytest.approx(1)
    for wrong in ([1.0], [0.0, 0.0], [1.0, 0.5]):
        with pytest.raises(ValueError, match=r"edges are \[.*increasing"):
            magnitudes.histogram(state, mask, wrong)


def test_bad_input_says_what_is_wrong():
    with pytest.raises(ValueError, match="mask entry is 'v', which is unknown; allowed are 'w'"):
        magnitudes.flat(SOLUTION, {"v": AFTER["w"]})
    with pytest.raises(ValueError, match=r"limit has shape \(3,\); it must be \(2,\), one for each replicate"):
        magnitudes.refilled(SOLUTION, AFTER, [0.1, 0.2, 0.3])
