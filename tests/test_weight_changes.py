"""What retraining changes, on weights made by hand and against numpy."""

import numpy as np
import pytest
import torch
from test_magnitudes import AFTER, BEFORE, SOLUTION, made

from lotterybook.retraining import weight_changes
from lotterylib import pruning


def test_removed_is_the_share_of_the_length():
    found = weight_changes.removed(SOLUTION, BEFORE, AFTER)
    for r, pruned in enumerate(([0, 1], [4, 5])):
        weights = SOLUTION["w"][r].numpy()
        assert float(found[r]) == pytest.approx(np.linalg.norm(weights[pruned]) / np.linalg.norm(weights))


def test_already_small_counts_those_in_both():
    earlier = made([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    later = made([10, -1, 2, 30, 40, 50, 60, 70, 80, 90])
    mask = {"w": torch.ones(1, 10, dtype=torch.bool)}
    assert weight_changes.already_small(earlier, later, mask, 0.2).tolist() == [0.5]  # {1, 2} and {2, 3}
    assert weight_changes.already_small(earlier, earlier, mask, 0.3).tolist() == [1.0]
    assert weight_changes.already_small(earlier, later, mask, 0.11).tolist() == [0.5]  # two weights: rounded up, as IMP
    assert weight_changes.already_small(earlier, made([-w for w in range(10, 0, -1)]), mask, 0.5).tolist() == [0.0]
    with pytest.raises(ValueError, match="fraction is 1.5"):
        weight_changes.already_small(earlier, later, mask, 1.5)


def test_already_small_follows_the_prunings(net):
    """With the next mask itself: what magnitude pruning of the two states takes."""
    earlier, later = net.init(2, seed=1), net.init(2, seed=7)
    mask = pruning.random(earlier, pruning.full(net, earlier), 0.4, seed=3)
    gone = [pruning.magnitude(state, mask, 0.2) for state in (earlier, later)]
    for r in range(2):
        a, b = (
            {(n, i) for n in mask for i in (mask[n][r] & ~m[n][r]).flatten().nonzero()[:, 0].tolist()} for m in gone
        )
        found = weight_changes.already_small(earlier, later, mask, 0.2)[r]
        assert float(found) == pytest.approx(len(a & b) / len(a))


def test_already_small_counts_as_pruning_does():
    """.1 + .2 of ten weights are three, in spite of rounding."""
    earlier, later = made([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), made([1, 2, 3, 0, 5, 6, 7, 8, 9, 10])
    mask = {"w": torch.ones(1, 10, dtype=torch.bool)}
    gone = [set((~pruning.magnitude(s, mask, 0.1 + 0.2)["w"])[0].nonzero()[:, 0].tolist()) for s in (earlier, later)]
    assert [len(g) for g in gone] == [3, 3]
    assert weight_changes.already_small(earlier, later, mask, 0.1 + 0.2).tolist() == [len(gone[0] & gone[1]) / 3]


def test_agreement_is_numpys(net):
    a, b = net.init(2, seed=1), net.init(2, seed=5)
    b = {name: b[name] + 0.5 * a[name] for name in b}
    mask = pruning.random(a, pruning.full(net, a), 0.3, seed=2)
    signs, correlation = weight_changes.agreement(a, b, mask)
    for r in range(2):
        u, v = (torch.cat([s[n][r][keep[r]] for n, keep in mask.items()]).double().numpy() for s in (a, b))
        assert float(signs[r]) == pytest.approx(np.mean(np.sign(u) == np.sign(v)))
        assert float(correlation[r]) == pytest.approx(np.corrcoef(abs(u), abs(v))[0, 1])


def test_bad_input_says_what_is_wrong():
    with pytest.raises(ValueError, match="mask entry 'w' has type torch.float64; it must be torch.bool"):
        weight_changes.agreement(SOLUTION, SOLUTION, {"w": AFTER["w"].double()})
    with pytest.raises(ValueError, match="after keeps weights that before prunes"):
        weight_changes.removed(SOLUTION, AFTER, BEFORE)
