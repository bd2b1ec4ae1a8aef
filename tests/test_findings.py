"""Findings on records made by hand: the rules that decide."""

import pytest
import torch

from lotterybook import claims, verdicts
from lotterybook.barriers import findings as barriers
from lotterybook.verdicts import FAILS, HOLDS, PARTLY, UNTESTED


def table(*values):
    return torch.tensor(values, dtype=torch.float64)


def replicated(values):
    """Two replicates around each value."""
    return torch.stack([values * 0.9, values * 1.1], -1)


def test_pairs_are_counted_by_connected_and_matching():
    match = torch.tensor([True, True, True, False, False, False])
    joined = torch.tensor([True, False, True, True, True, False])
    count = verdicts.crossed(match, joined)
    assert count == (2, 1, 2, 1) and count.agreement == 0.5
    assert count.chance == pytest.approx((3 * 4 + 3 * 2) / 36)


def test_numbers_are_written_with_their_spread():
    assert verdicts.percent(0.1234) == "12.3 %" and verdicts.points(-0.05, 0) == "−5 points"
    assert verdicts.percent(table(0.1, 0.2)) == "15.0 ± 7.1 %"
    assert verdicts.points(0.01, 0) == "1 point" and verdicts.points(0.01) == "1.0 points"


def test_a_spread_does_not_look_like_none():
    """It gets the digit that it needs; without any it stays as it is."""
    assert verdicts.percent(table(0.11, 0.113), 0) == "11 ± 0.2 %"
    assert verdicts.points(table(0.016, 0.0161)) == "1.6 ± 0.01 points"
    assert verdicts.spread(table(2.0, 2.004)) == "2.0 ± 0.003"
    assert verdicts.percent(table(0.11, 0.11), 0) == "11 ± 0 %" == verdicts.percent(table(0.11, 0.11 + 1e-15), 0)


def test_every_claim_of_the_abstract_has_one_row():
    """And the mask, of which the second sentence of C1 speaks, its own; each with its rule and a verdict by it."""
    rows = claims.abstract("book")
    assert len(rows) == 6 and [row.claim for row in rows[1:3]] == [
        barriers.row("book").claim, barriers.mask_row("book").claim
    ]  # fmt: skip
    for row in rows:
        assert row.verdict in verdicts.VERDICTS and row.measure and row.value


def test_what_no_case_was_tried_of_is_no_verdict():
    """A share of none is not zero, and all of none is not all."""
    assert verdicts.grade(float("nan")) == verdicts.majority([]) == UNTESTED
    assert verdicts.grade(0.0) == verdicts.majority([False]) == FAILS
    assert verdicts.majority([True, False]) == PARTLY and verdicts.majority([True]) == HOLDS
