"""Findings on records made by hand: the rules that decide."""

import pytest
import torch
from torch.testing import assert_close

from lotterybook import claims, verdicts
from lotterybook.barriers import findings as barriers
from lotterybook.experiment import recorded
from lotterybook.limits import findings as limits
from lotterybook.verdicts import FAILS, HOLDS, PARTLY, UNTESTED


def table(*values):
    return torch.tensor(values, dtype=torch.float64)


def replicated(values):
    """Two replicates around each value."""
    return torch.stack([values * 0.9, values * 1.1], -1)


def test_pairs_are_counted_by_connected_and_matching():
    """One run: the dense network and two matching levels, then one that does not match."""
    tickets = {
        "error": torch.stack([table([0.10], [0.10], [0.11], [0.20]), table([0.12], [0.12], [0.30], [0.20])], -1),
        "density": table(1, 0.8, 0.5, 0.2),
    }
    barrier = torch.stack([table([0.0], [0.5], [0.0]), table([0.0], [0.0], [0.5])], -1)
    count = verdicts.contingency(tickets, barrier, epsilon=0.01)
    assert count == (2, 1, 2, 1) and count.agreement == 0.5
    assert count.matching_connected == 2 / 3 and count.connected_matching == 0.5
    assert count.chance == pytest.approx((3 * 4 + 3 * 2) / 36)
    assert verdicts.contingency(tickets, barrier, epsilon=0.01, sparse=True) == (0, 0, 1, 1)
    assert verdicts.contingency(tickets, barrier, epsilon=0.01, sparse=False) == (2, 1, 1, 0)


def test_connected_levels_are_by_the_mean():
    barrier = replicated(table([0.3, 0.01], [0.01, 0.019], [0.0, 0.3]))
    joined = verdicts.connected(barrier, 0.02)
    assert joined.T.tolist() == [[False, True, True], [True, True, False]]


def test_numbers_are_written_with_their_spread():
    assert verdicts.percent(0.1234) == "12.3 %" and verdicts.points(-0.05, 0) == "−5 points"
    assert verdicts.percent(table(0.1, 0.2)) == "15.0 ± 7.1 %"


# Chapter 4: two levels, one rewind step, two replicates; fractions 0, 0.2 and 0.4

PREDICTED = {
    "predicted": table(0.6, 0.4)[:, None, None, None, None].expand(2, 6, 2, 1, 2) + table(0, 0.02),
    "epsilon": table(0.005, 0.01, 0.02, 0.05, 0.1, 0.2), "level": torch.tensor([0, 8]),
    "along": table([0.1, 0.2], [0.3, 0.2])[:, :, None, None].expand(2, 2, 1, 2),
}  # fmt: skip
RISES = table([0, 0.02, 0.04], [0, 0.2, 0.9])[:, None, :, None, None].expand(2, 2, 3, 1, 2)
PROJECTED = {"loss": 1 + RISES, "fraction": table(0, 0.2, 0.4)}


def test_measured_fractions_are_read_off_where_the_well_is_left():
    found = limits.by_projection(PROJECTED, 0.03)
    assert_close(found[0], torch.full((2, 1, 2), 0.3, dtype=torch.float64))
    assert_close(found[1], torch.full((2, 1, 2), 0.2 * 0.03 / 0.2, dtype=torch.float64))
    descents = {
        "loss": 1 + RISES[:, :, 1:], "solution": torch.ones(2, 1, 2, dtype=torch.float64),
        "barrier": torch.zeros(2, 2, 2, 1, 2, dtype=torch.float64), "fraction": table(0.2, 0.4),
    }  # fmt: skip
    assert_close(limits.by_descent(descents, 0.03), found)
    descents["barrier"][0, 0, 1] = 0.5  # low enough, but on the other side of a barrier
    apart = limits.by_descent(descents, 0.03)
    assert_close(apart[0, 0], torch.full((1, 2), 0.2, dtype=torch.float64))
    assert_close(apart[0, 1], found[0, 1])
    exact = {"lowest": table([[0.01, 0.05], [0.5, 0.6]])[:, None], "fraction": table(0.2, 0.4)}
    assert_close(limits.by_model(exact, 0.03), table([[0.3, 0.2 * 0.03 / 0.5]]))


def test_the_dense_network_counts_once():
    """Two levels, three rewind steps, two replicates: eight networks, not twelve."""
    dense, sparse = table([1, 2], [1, 2], [4, 5]), table([10, 11], [12, 13], [14, 15])
    values = torch.stack([dense, sparse])
    assert_close(limits.each_once(values), table(2, 3, 10, 11, 12, 13, 14, 15))
    assert_close(limits.each_once(values, centred=True), table(-0.5, 0.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5))
    both = torch.stack([values, -values], 1)  # with an axis between, as of the orders of pruning
    one, other = limits.by_level(both)
    assert_close(one, table([2, 3], [-2, -3]))
    assert_close(other, torch.stack([sparse.flatten(), -sparse.flatten()]))


def test_a_rank_across_levels_is_none_within_them():
    """What falls from level to level, and within each rises where the prediction falls."""
    within = table([-0.01, 0.01], [-0.02, 0.02])
    promise = table(0.8, 0.5, 0.2)[:, None, None] + within
    met = table(0.6, 0.4, 0.1)[:, None, None] - within
    assert limits.ranking(promise, met) > 0.95
    assert limits.ranking(promise, met, within_levels=True) == pytest.approx(-1)
    sparsity = limits.log_density({"density": table(1, 0.5, 0.1), "largest": promise})
    across, inside = limits._ranks("pruning by magnitude", promise, met, met, sparsity)
    assert (across.verdict, inside.verdict) == (HOLDS, FAILS)
    assert inside.value == "−1.00 (−1.00)"
    assert f"number of weights {limits.ranking(sparsity, met):.2f}" in across.value


def test_sparse_networks_have_to_lose_less_by_measurement_too():
    """Two rewind steps: three of four measured fractions of the last level lie below those of the dense network."""
    promise = table(0.8, 0.4)[:, None, None, None].expand(2, 2, 2, 2)
    met = table([[0.6, 0.5], [0.6, 0.5]], [[0.1, 0.1], [0.1, 0.55]])[:, None].expand(2, 2, 2, 2)
    row = limits._shrinks(0, 8, promise, met)
    assert row.verdict == PARTLY and "75 % of the networks" in row.value
    assert limits._shrinks(0, 8, promise, promise).verdict == HOLDS
    assert limits._shrinks(0, 8, promise, promise.flip(0)).verdict == FAILS


def test_limits_are_judged_by_their_rules():
    spectra = PREDICTED | {"predicted": PREDICTED["predicted"] - 0.05}
    met = PREDICTED["predicted"][:, 2]
    promise = limits.predicted(spectra)
    shifted = [limits._number("random pruning", promise, met - by).verdict for by in (0, 0.2, 0.3, -0.2)]
    assert shifted == [HOLDS, PARTLY, FAILS, FAILS]
    ranked = limits._ranks("random pruning", promise[:, 0], met[:, 0] - 0.3, -met[:, 0], -promise[:, 0])
    assert [row.verdict for row in ranked] == [HOLDS, HOLDS]
    assert [row.value for row in ranked] == ["1.00 (−1.00); number of weights −1.00 (1.00)", "1.00 (−1.00)"]
    turned = limits._ranks("random pruning", promise[:, 0], -met[:, 0], met[:, 0], promise[:, 0])
    assert [row.verdict for row in turned] == [FAILS, FAILS]
    assert limits._tried(met, table(0.7, 0.8)) == "; read off below 70 %, the smallest fraction tried"
    assert limits._tried(met, table(0.1, 0.8)) == ""
    assert "; read off" in limits._number("random pruning", promise, met, "; read off").measure
    tickets = {"error": table([[0.09, 0.11]], [[0.1, 0.1]], [[0.2, 0.2]]), "density": table(1, 0.8, 0.64),
               "rewind_step": torch.tensor([100])}  # fmt: skip
    control = {"density": table(0.8, 0.3), "one_shot": table([0.1, 0.1], [0.3, 0.3]), "rewind_step": torch.tensor(100)}
    promise = limits.predicted(PREDICTED)  # 61 % may go
    assert limits._one_shot(promise, tickets, control).verdict == HOLDS
    missed = control | {"one_shot": table([0.3, 0.3], [0.3, 0.3])}
    assert limits._one_shot(promise, tickets, missed).verdict == PARTLY
    surprised = control | {"one_shot": table([0.1, 0.1], [0.1, 0.1])}
    assert limits._one_shot(promise, tickets, surprised).verdict == FAILS
    tickets["error"][2] = 0.1  # fixed pruning matches down to 64 %, with three trainings
    runs = {"rise": table(0.01, 0.1), "density": table([1, 0.7, 0.5], [1, 0.5, 0.3]),
            "error": table([[0.1, 0.1]] * 3, [[0.1, 0.1], [0.1, 0.1], [0.5, 0.5]])}  # fmt: skip
    row = limits._adaptive(tickets, runs, control)
    assert row.verdict == PARTLY
    assert row.value == (
        "0.01 nats: 3 trainings, 10.0 ± 0.0 % at 50 % of the weights (fixed: 3 trainings, 10.0 ± 0.0 % at 64 %); "
        "0.1 nats: 2 trainings, 10.0 ± 0.0 % at 50 % of the weights (fixed: 3 trainings, 10.0 ± 0.0 % at 64 %)"
    )
    slow = runs | {"density": table([1, 0.9, 0.8], [1, 0.9, 0.8])}
    assert limits._adaptive(tickets, slow, control).verdict == FAILS


def test_every_claim_of_the_abstract_has_one_row():
    """And the mask, of which the second sentence of C1 speaks, its own; each with its rule and a verdict by it."""
    rows = claims.abstract("book")
    assert len(rows) == 6 and [row.claim for row in rows[1:3]] == [
        barriers.row("book").claim, barriers.mask_row("book").claim
    ]  # fmt: skip
    for row in rows:
        assert row.verdict in verdicts.VERDICTS and row.measure and row.value


def test_numbers_of_chapter_4_agree_with_its_records():
    """Medians of four replicates, the sizes of the wells, and what the smallest fraction tried allows to say."""
    said, spectra = limits.numbers("book"), recorded("spectra", "book")
    middle = spectra["largest"][-1, 2].sort().values[1:3].mean()
    assert said["median largest level=8 k=100"] == f"{middle:.1f}"
    turned = [along[0] >= along[1] for along in spectra["along"][-2, :, 2].T.tolist()]  # by magnitude, at random
    assert said["turned level=6 k=100"] == f"{sum(turned)} of {len(turned)}"
    descents = recorded("descents", "book")
    met = limits.by_descent(descents)[:, 1]
    assert met.max() < descents["fraction"][0]  # so the factor is a lower bound
    assert int(said["random at least"]) <= limits.predicted(spectra)[:, 1].mean() / descents["fraction"][0]
    least = 1 - spectra["predicted"][0, 0, 0].mean()
    assert said["one-shot limit smallest well"] == f"{100 * least:.0f} %" and said["smallest well"] == "0.005"
    assert float(said["tolerance nats"]) < float(said["smallest well"])


def test_what_no_case_was_tried_of_is_no_verdict():
    """A share of none is not zero, and all of none is not all."""
    assert verdicts.grade(float("nan")) == verdicts.majority([]) == UNTESTED
    assert verdicts.grade(0.0) == verdicts.majority([False]) == FAILS
    assert verdicts.majority([True, False]) == PARTLY and verdicts.majority([True]) == HOLDS
