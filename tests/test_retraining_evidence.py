"""The rule of claim C4 on records made by hand."""

import pytest
import torch
from torch.testing import assert_close

from lotterybook import verdicts
from lotterybook.retraining import drawings, evidence


def table(*values):
    return torch.tensor(values, dtype=torch.float64)


def pairs(*values):
    """Two replicates around each value."""
    return torch.stack([table(*values) * 0.99, table(*values) * 1.01], -1)


TICKETS = {"error": table(0.019, 0.020, 0.021).expand(5, 1, 3)}  # so the largest error that matches is 2.5 %
RECORD = {  # IMP matches down to level 3 of 4
    "rewound": pairs(0.02, 0.018, 0.03, 0.024, 0.03), "kept": pairs(0.02, 0.02, 0.02, 0.02, 0.02),
    "short": pairs(0.02, 0.02, 0.03, 0.03, 0.04), "none": pairs(0.02, 0.05, 0.2, 0.5, 0.9),
    "fine": torch.stack([pairs(0.02, 0.02, 0.02, 0.03, 0.04), pairs(0.02, 0.02, 0.02, 0.028, 0.03)]),
    "rewound_new_small": pairs(0.8, 0.7, 0.6), "kept_new_small": pairs(0.9, 0.8, 0.7),
    "short_new_small": pairs(0.1, 0.1, 0.1),
    "fine_new_small": torch.stack([pairs(0.1, 0.2, 0.3), pairs(0.5, 0.6, 0.9)]),
    "rewound_barrier": pairs(0.0, 0.01, 0.02, 0.3), "kept_barrier": pairs(0.0, 0.0, 0.0, 0.0),
    "short_barrier": pairs(0.0, 0.0, 0.0, 0.0), "fine_barrier": torch.stack([pairs(0.0, 0.0, 0.0, 0.01)] * 2),
    "fine_rate": table(0.01, 0.05), "density": table(1, 0.8, 0.64, 0.51, 0.41),
}  # fmt: skip
RECORD["rewound"][2] = 0.0249


def changed(**values):
    return {**RECORD, **values}


def test_matching_is_half_a_point_above_the_dense():
    assert evidence.last_matching(RECORD["rewound"], TICKETS, evidence.EPSILON) == 3
    assert evidence.last_matching(pairs(0.02, 0.02, 0.026, 0.02, 0.02), TICKETS, evidence.EPSILON) == 1


@pytest.mark.parametrize(
    ("change", "parts", "verdict"),
    [
        ({}, [True, True, True], verdicts.HOLDS),
        ({"rewound_new_small": pairs(0.8, 0.3, 0.31)}, [False, True, True], verdicts.FAILS),
        ({"rewound_new_small": pairs(0.9, 0.9, 0.29)}, [True, False, True], verdicts.PARTLY),
        ({"none": pairs(0.02, 0.02, 0.02, 0.02, 0.9)}, [True, True, False], verdicts.PARTLY),
        ({"fine": torch.stack([RECORD["fine"][0], pairs(0.02, 0.02, 0.02, 0.023, 0.9)])}, [True, True, False],
         verdicts.PARTLY),
        ({"rewound_new_small": pairs(0.9, 0.9, 0.29), "none": pairs(0.02, 0.02, 0.02, 0.02, 0.9)},
         [True, False, False], verdicts.FAILS),
        ({"rewound": pairs(0.02, 0.03, 0.02, 0.02, 0.02)}, [], verdicts.UNTESTED),
    ],
)  # fmt: skip
def test_retraining_is_judged_by_three_parts(change, parts, verdict):
    record = changed(**change)
    assert evidence.checks(record, TICKETS) == parts
    row = evidence.judged(record, TICKETS, 75)
    assert row.verdict == verdict and "deviation of the dense error 0.10 points" in row.value
    assert f"parts: {', '.join('yes' if part else 'no' for part in parts) or 'no case'};" in row.value


def test_levels_at_which_imp_fails_do_not_count():
    """Level 2 is the last that matches, so the share of the solution of level 3 is not looked at."""
    record = changed(rewound=pairs(0.02, 0.02, 0.02, 0.03, 0.03), rewound_new_small=pairs(0.9, 0.9, 0.0))
    assert evidence.checks(record, TICKETS)[:2] == [True, True]
    assert "weight rewinding (IMP) 90 ± 1 %" in evidence.judged(record, TICKETS, 75).value


def test_the_smallest_rate_is_the_one_compared_with():
    """The second rate gives more new small weights than IMP at the last level, which the rule does not ask about."""
    assert evidence.checks(RECORD, TICKETS)[1]
    swapped = changed(fine_rate=table(0.05, 0.01))
    assert not evidence.checks(swapped, TICKETS)[1]


CYCLES = {
    "error": torch.cat([pairs(0.05), pairs(0.05, 0.04, 0.03)]), "level": torch.tensor([1, 3, 3, 3]),
    "cycle": torch.tensor([1, 1, 2, 3]), "density": table(0.8, 0.51, 0.51, 0.51),
}  # fmt: skip


def test_cycles_close_a_share_of_the_gap():
    assert_close(evidence.by_cycle(CYCLES, 3), pairs(0.05, 0.04, 0.03))
    assert evidence.gap_closed(CYCLES, RECORD, 3) == pytest.approx(2 / 3)  # from 5 to 3 of the way to 2
    assert evidence.gap_closed(CYCLES, RECORD, 3, "rewound") == pytest.approx(0.02 / 0.026)
    better = {**CYCLES, "error": CYCLES["error"] / 10}
    assert evidence.gap_closed(better, RECORD, 3) != evidence.gap_closed(better, RECORD, 3)  # no gap: NaN
    said = evidence._cycles(CYCLES, RECORD)
    assert "A fixed mask of level 3 (51 %, pruned at once) errs on 5.00 ± 0.07 % after one training and 3.00" in said[3]
    assert said[5].endswith("further cycles close 67 % of the gap to it.")
    assert evidence._cycles(better, RECORD)[4].endswith("there is no gap.")


def test_arms_and_cycles_are_told_and_drawn():
    said = evidence._by_arm(RECORD, TICKETS, 3)
    assert [text.split(":")[0] for text in said] == list(evidence.arms(RECORD))
    assert "fine-tuning at 0.05: matches down to level 2 (64 %); error 2.80" in said[4]
    assert "by level from 1 on: 0.80, 0.70, 0.60; highest mean barrier" in said[0]
    assert "2.0 points to that level, 30.0 points at all" in said[0]
    assert "new small" not in said[-1] and said[-1].startswith("none: matches down to level 0")
    drawn = drawings.arms(RECORD, TICKETS)
    assert "At level 3, the last at which IMP matches (51 % of the weights)" in drawn.alt
    assert "weight rewinding (IMP) 2.4 and 70; learning-rate rewinding 2.0 and 80" in drawn.alt
    assert "fine-tuning at 0.01 3.0 and 20" in drawn.alt and "none 50.0." in drawn.alt
    left, right = drawn.figure.axes
    assert len(left.lines) == 7 and len(right.lines) == 6  # arms and a dashed line; no retraining has no share
    alt = drawings.cycles(CYCLES, RECORD).alt
    assert "level 3: 5.0 after one cycle, 3.0 after 3; weight rewinding (IMP) 2.4, learning-rate rewinding 2.0" in alt
