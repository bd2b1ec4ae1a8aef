"""Evidence for C0 on records made by hand: the rules that decide, and what the figure says."""

import pytest
import torch
from test_figures import check_words
from torch.testing import assert_close

from lotterybook.experiment import EXPERIMENTS, experiments_of
from lotterybook.presets import PRESETS
from lotterybook.tickets import drawings, evidence
from lotterybook.verdicts import FAILS, HOLDS, PARTLY, UNTESTED

KEPT = (1, 0.8, 0.5, 0.25, 0.1)


def table(*values):
    return torch.tensor(values, dtype=torch.float64)


def replicated(values, by=0.001):
    """Two replicates around each value."""
    return torch.stack([values - by, values + by], -1)


def records(start=(0.02, 0.03, 0.04, 0.05, 0.06), later=(0.02, 0.018, 0.022, 0.024, 0.05), worse=0.03):
    """IMP from k = 0 and 75 at five levels, the controls at levels 2 and 3; the dense error is 2 %, the limit 2.5 %."""
    error = replicated(torch.stack([table(*start), table(*later)], 1))
    axes = {"density": table(*KEPT), "rewind_step": torch.tensor([0, 75])}
    level = torch.tensor([2, 3])
    at = {"level": level, "density": axes["density"][level], "rewind_step": torch.tensor(75)}
    own = error[level, 1]
    names = [name for name in evidence.CONTROLS if name != "fresh_start"]
    return {"error": error, **axes}, {**{name: own + worse for name in names}, **at}, {"error": own + 0.01, **at}


def test_reach_ends_at_the_first_level_that_misses():
    tickets, *_ = records(later=(0.02, 0.03, 0.02, 0.02, 0.02))
    assert evidence.reach(tickets).tolist() == [0, 0]
    assert evidence.reach(tickets, 0.01).tolist() == [1, 4]
    assert evidence.reach(records()[0]).tolist() == [0, 3]
    assert evidence.winning(records()[0]).tolist() == [False, True]  # 25 % is less than 30 %


def test_what_lies_on_the_tolerance_is_within_it():
    """A mean of counted errors may be half a point above but for a rounding; NaN is within nothing."""
    on = (table(0.0210, 0.0214, 0.0218).mean() + table(0.005)) - table(0.0210, 0.0214, 0.0218).mean()
    values = torch.cat([on, table(0.005 + 1e-12, 0.0051, float("nan"))])
    assert evidence.within(values, evidence.EPSILON).tolist() == [True, True, False, False]
    assert evidence.EPSILON == 0.005


def test_controls_stand_beside_imp_at_their_own_levels():
    tickets, control, fresh = records(worse=0.04)
    above = evidence.above_imp(tickets, control, fresh)
    assert list(above) == [*(name for name in evidence.CONTROLS if name != "fresh_start"), "fresh_start"]
    assert_close(above["fresh_start"], torch.full((2, 2), 0.01, dtype=torch.float64))
    assert_close(above["one_shot"], torch.full((2, 2), 0.04, dtype=torch.float64))
    assert evidence.compared_at(tickets, control) == 1
    assert evidence.compared_at(records(later=(0.02, 0.02, 0.02, 0.03, 0.03))[0], control) == 0
    assert evidence.compared_at(records(later=(0.02, 0.03, 0.03, 0.03, 0.03))[0], control) is None


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, HOLDS),
        ({"start": (0.02,) * 5, "later": (0.02, 0.03, 0.03, 0.03, 0.03)}, FAILS),  # k = 0 alone wins no ticket
        ({"later": (0.02, 0.02, 0.02, 0.03, 0.03)}, FAILS),  # to 50 %: not sparse
        ({"worse": -0.001}, PARTLY),  # no better than a random mask
    ],
)
def test_winning_tickets_are_judged_by_their_rule(change, verdict):
    row = evidence.winning_ticket(*records(**change)[:2])
    assert row.verdict == verdict and "half a point" in row.measure


def test_one_control_of_three_that_is_as_good_is_enough_to_doubt():
    tickets, control, _ = records()
    for name in control:
        same = {**control, name: evidence.imp_at(tickets, control)} if name in evidence.CONTROLS else control
        judged = evidence.winning_ticket(tickets, same).verdict
        assert judged == (PARTLY if name in evidence.TICKETLESS else HOLDS), name


def test_without_a_case_there_is_no_verdict_on_tickets():
    tickets, control, _ = records()
    broken = {**tickets, "error": tickets["error"].clone()}
    broken["error"][0] = torch.nan
    assert evidence.winning_ticket(broken, control).verdict == UNTESTED
    alone = {**tickets, "error": tickets["error"][:, 1:], "rewind_step": torch.tensor([0])}
    assert evidence.winning_ticket(alone, {**control, "rewind_step": torch.tensor(0)}).verdict == UNTESTED


def test_the_value_of_the_row_tells_reach_spread_and_controls():
    value = evidence.winning_ticket(*records()[:2]).value
    assert value.startswith("k = 0: none; k = 75: 25 % (2 of 2); dense 2.00 ± 0.14 %")
    assert value.endswith("above IMP at 25 %: " + ", ".join(
        f"{evidence.CONTROLS[name]} 3.0 ± 0.0 points" for name in evidence.TICKETLESS
    ))  # fmt: skip


def test_stable_is_what_stays_so():
    height = replicated(table(0.3, 0.01, 0.05, 0.01, 0.0), 0)
    record = {"height": height, "rewind_step": torch.tensor([0, 10, 25, 40, 75])}
    assert evidence.first_stable(record) == 40
    assert evidence.first_stable({"height": height[:3], "rewind_step": record["rewind_step"][:3]}) is None


def test_the_figure_of_errors_says_how_far_imp_matches_and_what_controls_lose():
    drawing = drawings.errors(*records())
    assert "k = 0 to 100 %; k = 75 to 25 % of the weights" in drawing.alt
    assert "random mask +3.0" in drawing.alt and "mask, fresh weights trained to k +1.0" in drawing.alt
    assert set(drawings.ARMS) == set(evidence.CONTROLS)
    check_words("errors", drawing.figure)
    left = drawing.figure.axes[0]
    (band,) = [patch for patch in left.patches if patch.get_label() == "matching"]
    low, high = band.get_extents().transformed(left.transData.inverted()).get_points()[:, 1]
    assert (low, high) == pytest.approx((0.02, 0.025))


def test_a_preset_leaves_out_what_it_sets_nothing_for():
    """The presets of the first edition do without the second's experiments; those have all."""
    added = {"fresh_starts", "recalibrated_pairs", "found_masks", "architectures"}
    for name in PRESETS:
        missing = set(EXPERIMENTS) - set(experiments_of(name))
        assert added <= missing if name not in ("smoke", "book") else not added & missing, name
