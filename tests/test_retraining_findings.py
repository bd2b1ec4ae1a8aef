"""Chapter 5 on records made by hand: the rules that decide, what is counted, what the figures say."""

from types import SimpleNamespace

import pytest
import torch
from matplotlib.colors import to_hex
from torch.testing import assert_close

from lotterybook import style, verdicts
from lotterybook.retraining import figures, findings, magnitudes


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
    assert verdicts.last_matching(RECORD["rewound"], TICKETS, findings.EPSILON) == 3
    assert verdicts.last_matching(pairs(0.02, 0.02, 0.026, 0.02, 0.02), TICKETS, findings.EPSILON) == 1


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
    assert findings.checks(record, TICKETS) == parts
    (row,) = findings.verdict(record, TICKETS, 75)
    assert row.verdict == verdict and row.measure.startswith("at k = 75, ")
    said = ("more at every level", "not more at every level"), ("All that retrain less", "Not all that retrain less")
    assert all(f"{pair[not part]}" in row.value for pair, part in zip(said, parts[1:], strict=False))
    assert parts or row.value == "IMP matches at no level after which something is pruned"


def test_levels_at_which_imp_fails_do_not_count():
    """Level 2 is the last that matches, so the share of the solution of level 3 is not looked at."""
    record = changed(rewound=pairs(0.02, 0.02, 0.02, 0.03, 0.03), rewound_new_small=pairs(0.9, 0.9, 0.0))
    assert findings.checks(record, TICKETS)[:2] == [True, True]
    assert "90 ± 1 % of what is pruned next is new and small" in findings.judged(record, TICKETS, 75).value


def test_the_smallest_rate_is_the_one_compared_with():
    """The second rate gives more new small weights than IMP at the last level, which the rule does not ask about."""
    assert findings.checks(RECORD, TICKETS)[1]
    swapped = changed(fine_rate=table(0.05, 0.01))
    assert not findings.checks(swapped, TICKETS)[1]


CYCLES = {
    "error": torch.cat([pairs(0.05), pairs(0.05, 0.04, 0.03)]), "level": torch.tensor([1, 3, 3, 3]),
    "cycle": torch.tensor([1, 1, 2, 3]), "density": table(0.8, 0.51, 0.51, 0.51),
}  # fmt: skip


def test_cycles_close_a_share_of_the_gap():
    assert_close(findings.by_cycle(CYCLES, 3), pairs(0.05, 0.04, 0.03))
    assert findings.gap_closed(CYCLES, RECORD, 3) == pytest.approx(2 / 3)  # from 5 to 3 of the way to 2
    assert findings.gap_closed(CYCLES, RECORD, 3, "rewound") == pytest.approx(0.02 / 0.026)
    better = {**CYCLES, "error": CYCLES["error"] / 10}
    assert findings.gap_closed(better, RECORD, 3) != findings.gap_closed(better, RECORD, 3)  # no gap: NaN
    header, rows = findings._by_fixed_mask(CYCLES, RECORD)
    assert rows[1][:3] == ["51 %", "5.00 ± 0.07 %", "3.00 ± 0.04 %"] and rows[1][-1] == "67 %" and len(header) == 6
    assert findings._by_fixed_mask(better, RECORD)[1][1][-1] == "no gap"


REFILL = {  # solutions of levels 1 to 3, at rewind steps 0 and 75
    "refilled": torch.stack([pairs(0.19, 0.18, 0.19), pairs(0.15, 0.14, 0.3)], 1),
    "already": torch.stack([pairs(0.2, 0.25, 0.3), pairs(0.4, 0.4, 0.9)], 1),
    "removed": torch.stack([pairs(0.05, 0.05, 0.05), pairs(0.1, 0.12, 0.14)], 1),
    "removed_without": torch.stack([pairs(0.1, 0.1, 0.1), pairs(0.15, 0.2, 0.05)], 1),
    "signs": torch.stack([pairs(0.6, 0.6, 0.6), pairs(0.9, 0.95, 0.97)], 1),
    "fraction": table(0.2).squeeze(), "rewind_step": torch.tensor([0, 75]), "density": RECORD["density"],
}  # fmt: skip
REWINDING = {  # k = 0 matches down to level 1, k = 75 down to level 2
    "error": torch.stack([pairs(0.02, 0.02, 0.04, 0.05, 0.06), pairs(0.02, 0.02, 0.02, 0.04, 0.05)], 1),
    "density": RECORD["density"], "rewind_step": torch.tensor([0, 75]),
}  # fmt: skip


def test_new_small_weights_are_counted_up_to_what_is_pruned():
    found = findings.new_small(REFILL)
    assert_close(found[:2, 1], pairs(0.75, 0.7))
    assert found.max() == 1


def test_levels_that_match_stand_apart_from_the_others():
    values = torch.arange(12, dtype=torch.float64).view(3, 2, 2)  # three levels, two rewind steps
    matching, other = findings.split(values, REWINDING)
    assert [part.tolist() for part in matching] == [[[0, 1]], [[2, 3], [6, 7]]]
    assert [part.tolist() for part in other] == [[[4, 5], [8, 9]], [[10, 11]]]


def asked(refill=REFILL, repeated=CYCLES, tickets=REWINDING):
    return findings.questions(refill, RECORD, repeated, tickets)


def test_questions_are_judged_by_their_rules():
    fresh, old, shorter, fixed = asked()
    assert (fresh.verdict, fresh.value) == (verdicts.HOLDS, "82 % to 93 %, by rewind step")
    assert old.verdict == verdicts.PARTLY and old.value.startswith("67 %")  # .8 from 0, .6 and .6 from 75
    assert shorter.verdict == verdicts.PARTLY and "83 %" in shorter.value  # in five of six
    assert fixed.verdict == verdicts.PARTLY and fixed.value == "at 51 % of the weights 33 % of the gap stays"


def test_questions_without_a_case_have_no_verdict():
    lost = {**REWINDING, "error": REWINDING["error"].clone()}
    lost["error"][1:] = 0.5
    better = {**CYCLES, "error": CYCLES["error"] / 10}
    _, old, _, fixed = asked(repeated=better, tickets=lost)
    assert old.verdict == fixed.verdict == verdicts.UNTESTED and "no level" in old.value and "no gap" in fixed.value
    few = {**REFILL, "refilled": REFILL["refilled"] / 3}
    assert asked(few)[0].verdict == verdicts.FAILS
    assert asked({**REFILL, "refilled": torch.stack([REFILL["refilled"][:, 0], pairs(0, 0, 0)], 1)})[0].verdict == (
        verdicts.FAILS
    )  # at one rewind step of two


def test_tables_say_what_figures_show():
    lines = findings.by_rewind_step(REFILL, REWINDING)
    assert lines[2].startswith("| k = 0 | 80 % | 95 ± 1 % / 92 ± 1 % | 20 ± 0.3 % / 28 ± 0.4 % |")
    assert lines[3].startswith("| k = 75 | 64 % | 72 ± 1 % / 100 ± 0 % |")
    header, _, *rows = findings.by_arm(RECORD, TICKETS)
    assert "| error at 51 % | new and small down to 51 % |" in header and len(rows) == len(findings.arms(RECORD))
    assert "| fine-tuning at 0.05 | 64 % | 2.80 ± 0.04 % | 67 ± 1 % | 0.0 points |" in rows
    assert rows[-1].endswith("| none | not measured |")
    assert len(findings.by_fixed_mask(CYCLES, RECORD)) == 4


def test_the_way_to_retrain_is_drawn_and_told():
    drawn = figures.arms(RECORD, TICKETS)
    assert "At level 3, the last at which IMP matches (51 % of the weights)" in drawn.alt
    assert "weight rewinding (IMP) 2.4 and 70; learning-rate rewinding 2.0 and 80" in drawn.alt
    assert "fine-tuning at 0.01 3.0 and 20" in drawn.alt and "none 50.0." in drawn.alt
    assert drawn.caption == (
        "At 51 % of the weights, where IMP matches last, it errs on 2.4 %; fine-tuning at 0.01 errs on 3.0 %."
    )
    left, right = drawn.figure.axes
    assert len(left.lines) == 7 and len(right.lines) == 6  # arms and a line; no retraining has no share
    assert "half of those pruned next" in [text.get_text() for text in drawn.figure.legends[0].get_texts()]
    alt = figures.cycles(CYCLES, RECORD).alt
    assert "level 3: 5.0 after one training, 3.0 after 3; weight rewinding (IMP) 2.4, learning-rate" in alt
    assert "down to 51 % of the weights no way" in figures.barriers(RECORD, TICKETS).caption.lower()
    assert "above 2.0 points" in figures.barriers(RECORD, TICKETS).caption


def test_small_weights_by_rewind_step_are_drawn_and_told():
    drawn = figures.new_small(REFILL, REWINDING, (0, 75))
    assert drawn.caption.startswith("From each rewind step drawn at least 82 % of what the next pruning takes is new")
    assert "25 % of it from step 0 and 57 % from step 75 was among the smallest before" in drawn.caption
    full = [line.get_xdata().tolist() for line in drawn.figure.axes[0].lines if line.get_linestyle() == "None"]
    assert full == [[0.8], [0.8, 0.64]], "filled where IMP matches"
    assert "in 83 % of the cases; from step 75 by 12 % of the weights' length instead of 13 %" in (
        figures.removed(REFILL, (0, 75)).caption
    )
    assert "from step 0, 60 % of the weights" in figures.signs(REFILL, REWINDING).caption


def test_the_course_of_retraining_is_drawn_and_told():
    curves = {
        findings.IMP: ([0, 5, 40], pairs(0.14, 0.1, 0.16)), findings.LRR: ([0, 5, 40], pairs(0.0, 0.1, 0.18)),
        "fine-tuning at 0.01": ([0, 8], pairs(0.0, 0.003)),
    }  # fmt: skip
    drawn = figures.along(curves, 0.2)
    assert drawn.caption == (
        "Retraining by learning-rate rewinding leaves most weights at or below the last threshold, 18.0 %, and "
        "fine-tuning at 0.01 fewest, 0.3 %."
    )
    assert "weight rewinding (IMP) 14.0 at the start, 10.0 at the least, 16.0 at the end" in drawn.alt
    looks = {line.get_label(): line.get_color() for line in drawn.figure.axes[0].lines}
    arms = {line.get_label(): line.get_color() for line in figures.arms(RECORD, TICKETS).figure.axes[0].lines}
    assert {name: arms[name] for name in curves} == {name: looks[name] for name in curves}, "one look for each way"


def test_a_histogram_marks_what_is_refilled():
    """Ten weights of one layer; two are pruned, and three of the eight left are as small again after retraining."""
    before = Level([0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [True] * 10)
    after = Level([0.0, 0.0, 0.005, 0.01, 0.02, 0.3, 0.4, 0.5, 0.6, 0.7], [False] * 2 + [True] * 8)
    edges = table(0, 0.004, 0.015, 0.03, 0.06, 0.9)
    trio = (before.state, before.mask), (before.state, after.mask), (after.state, after.mask)
    shares = torch.stack([magnitudes.histogram(state, mask, edges) for state, mask in trio])
    record = {"all": shares[None], "edges": edges, "density": table(1, 0.8)}
    panes = figures.histogram(record, SimpleNamespace(levels=(before, after)), 0)
    assert "38 % to 38 % of the weights" in panes.caption
    (axes,) = panes.drawings["0"].figure.axes
    assert "refilled: 38 %" in axes.get_legend_handles_labels()[1]
    (line,) = [line for line in axes.lines if line.get_label() == "last threshold"]
    assert line.get_xdata()[0] == pytest.approx(0.02)
    drawn = {patch.get_label(): patch.get_data() for patch in axes.patches if hasattr(patch, "get_data")}
    assert drawn["its projection"].edges.tolist() == pytest.approx([0.02, 0.03, 0.06, 0.9]), "nothing lies below it"
    assert drawn["its projection"].values.tolist() == pytest.approx([0, 1 / 8, 7 / 8])
    filled = axes.collections[0].get_paths()[0].vertices
    assert filled[:, 0].max() == pytest.approx(0.02) and filled[:, 1].max() == pytest.approx(0.25)
    assert to_hex(axes.collections[0].get_facecolor()[0]) == style.BLUE.lower()


class Level:
    """A level of one replicate with one layer."""

    def __init__(self, weights, kept):
        self.state = {"w": torch.tensor([weights])}
        self.mask = {"w": torch.tensor([kept])}
