"""Findings and figures of chapter 1 on records made by hand: the rules that decide, and what the figures say."""

import numpy as np
import pytest
import torch
from test_figures import check_words
from torch.testing import assert_close

from lotterybook.experiment import EXPERIMENTS, experiments_of
from lotterybook.narrow import narrow
from lotterybook.presets import PRESETS
from lotterybook.tickets import figures, findings, matching, shapes
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
    names = [name for name in matching.CONTROLS if name != "fresh_start"]
    return {"error": error, **axes}, {**{name: own + worse for name in names}, **at}, {"error": own + 0.01, **at}


def unstable(*heights):
    """Instability at k = 0 and 75."""
    return {"height": replicated(table(*heights), 0), "rewind_step": torch.tensor([0, 75])}


def test_reach_ends_at_the_first_level_that_misses():
    tickets, *_ = records(later=(0.02, 0.03, 0.02, 0.02, 0.02))
    assert matching.reach(tickets).tolist() == [0, 0]
    assert matching.reach(tickets, 0.01).tolist() == [1, 4]
    assert matching.reach(records()[0]).tolist() == [0, 3]
    assert matching.winning(records()[0]).tolist() == [False, True]  # 25 % is less than 30 %


def test_what_lies_on_the_tolerance_is_within_it():
    """A mean of counted errors may be half a point above but for a rounding; NaN is within nothing."""
    on = (table(0.0210, 0.0214, 0.0218).mean() + table(0.005)) - table(0.0210, 0.0214, 0.0218).mean()
    values = torch.cat([on, table(0.005 + 1e-12, 0.0051, float("nan"))])
    assert matching.within(values, matching.EPSILON).tolist() == [True, True, False, False]
    assert matching.EPSILON == 0.005


def test_controls_stand_beside_imp_at_their_own_levels():
    tickets, control, fresh = records(worse=0.04)
    above = matching.above_imp(tickets, control, fresh)
    assert list(above) == list(matching.CONTROLS) == list(matching.beside(control, fresh))
    assert_close(above["fresh_start"], torch.full((2, 2), 0.01, dtype=torch.float64))
    assert_close(above["one_shot"], torch.full((2, 2), 0.04, dtype=torch.float64))
    assert matching.compared_at(tickets, control) == 1
    assert matching.compared_at(records(later=(0.02, 0.02, 0.02, 0.03, 0.03))[0], control) == 0
    assert matching.compared_at(records(later=(0.02, 0.03, 0.03, 0.03, 0.03))[0], control) is None
    assert matching.levels_matched(matching.imp_at(tickets, control), tickets) == 2
    assert matching.levels_matched(fresh["error"], tickets) == 0  # its first level misses already


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
    (row,) = findings.verdict(*records(**change)[:2])
    assert row.verdict == verdict and "half a point" in row.measure


def test_one_control_of_three_that_is_as_good_is_enough_to_doubt():
    tickets, control, _ = records()
    for name in control:
        same = {**control, name: matching.imp_at(tickets, control)} if name in matching.CONTROLS else control
        judged = findings.winning_ticket(tickets, same).verdict
        assert judged == (PARTLY if name in findings.TICKETLESS else HOLDS), name


def test_without_a_case_there_is_no_verdict_on_tickets():
    tickets, control, _ = records()
    broken = {**tickets, "error": tickets["error"].clone()}
    broken["error"][0] = torch.nan
    assert findings.winning_ticket(broken, control).verdict == UNTESTED
    alone = {**tickets, "error": tickets["error"][:, 1:], "rewind_step": torch.tensor([0])}
    assert findings.winning_ticket(alone, {**control, "rewind_step": torch.tensor(0)}).verdict == UNTESTED


def test_the_value_of_the_row_tells_reach_and_the_best_control():
    tickets, control, _ = records()
    control["shuffled_mask"] = control["shuffled_mask"] - 0.01
    assert findings.winning_ticket(tickets, control).value == (
        "Rewound to step 75, it matches down to 25 % of the weights; at 25 % the best of the three others, IMP's mask "
        "shuffled in each layer, errs 2.0 ± 0.0 points more"
    )
    nowhere, *_ = records(later=(0.02, 0.03, 0.03, 0.03, 0.03))
    assert findings.winning_ticket(nowhere, control).value.endswith("it matches at no level of the controls")


def asked(tickets, control, fresh, heights=(0.4, 0.01)):
    return [row.verdict for row in findings.questions(tickets, control, fresh, unstable(*heights))]


def test_our_questions_are_judged_by_their_rules():
    """In order: from the start, which weights, which values, one-shot, learning-rate rewinding, stability."""
    tickets, control, fresh = records()
    assert asked(tickets, control, fresh) == [HOLDS, HOLDS, HOLDS, HOLDS, FAILS, HOLDS]
    own = matching.imp_at(tickets, control)
    near = {**control, **{name: own + 0.0005 for name in matching.CONTROLS}}
    assert asked(tickets, near, {**fresh, "error": own + 0.0005}) == [HOLDS, PARTLY, PARTLY, PARTLY, HOLDS, HOLDS]
    better = {**control, **{name: own - 0.0005 for name in matching.CONTROLS}}
    assert asked(tickets, better, {**fresh, "error": own - 0.0005}) == [HOLDS, FAILS, FAILS, FAILS, HOLDS, HOLDS]


def test_our_questions_without_a_case():
    tickets, control, fresh = records(later=(0.02, 0.03, 0.03, 0.03, 0.03))
    assert asked(tickets, control, fresh) == [UNTESTED] * 6
    everywhere = records(start=(0.02,) * 5)
    assert asked(*everywhere)[0] == FAILS


@pytest.mark.parametrize(
    ("heights", "verdict"),
    [((0.4, 0.01), HOLDS), ((0.01, 0.01), PARTLY), ((0.01, 0.4), FAILS), ((0.4, 0.4), UNTESTED)],
)
def test_tickets_are_looked_for_where_training_is_stable(heights, verdict):
    """Only k = 75 wins one: stable there alone; everywhere; only where there is none; nowhere."""
    assert asked(*records(), heights)[-1] == verdict


def test_a_stable_step_without_tickets_is_no_exception_if_all_tickets_are_stable():
    tickets, control, fresh = records(start=(0.02, 0.02, 0.02, 0.02, 0.02))
    assert asked(tickets, control, fresh, (0.4, 0.01))[-1] == PARTLY  # both win, one is stable


def test_stable_is_what_stays_so():
    height = replicated(table(0.3, 0.01, 0.05, 0.01, 0.0), 0)
    record = {"height": height, "rewind_step": torch.tensor([0, 10, 25, 40, 75])}
    assert matching.stable_from(record) == 40
    assert matching.stable_from({"height": height[:3], "rewind_step": record["rewind_step"][:3]}) is None


def test_tables_hold_the_numbers_behind_the_figures():
    tickets, control, fresh = records()
    first, _, start, later = findings.by_step(tickets, unstable(0.4, 0.01))
    assert "error at 10 %" in first
    assert start == "| 0 | no pruned level | 0.00 points | 2 of 2 | 6.0 ± 0.1 % | 40.0 ± 0.0 points |"
    assert later == "| 75 | 25 % | 0.40 points | 2 of 2 | 5.0 ± 0.1 % | 1.0 ± 0.0 points |"
    fewer = {name: value[1:] if name != "rewind_step" else value for name, value in fresh.items()}
    rows = findings.by_control(tickets, control, fewer)
    assert rows[0] == "| points above IMP, at | 50 % | 25 % |" and len(rows) == 2 + len(matching.CONTROLS)
    assert rows[5].endswith("trained to step k |  | 1.0 ± 0.0 points |")


def test_the_figure_of_errors_says_how_far_imp_matches():
    tickets, *_ = records()
    drawing = figures.errors(tickets)
    assert "k = 0 at no pruned level; k = 75 down to 25 % of the weights" in drawing.alt
    assert drawing.caption.endswith(
        "from k = 0 at no pruned level, and from k = 75 down to 25 % of the weights; hollow symbols err more."
    )
    (axes,) = drawing.figure.axes
    (band,) = [patch for patch in axes.patches if patch.get_label() == "matching"]
    low, high = band.get_extents().transformed(axes.transData.inverted()).get_points()[:, 1]
    assert (low, high) == pytest.approx((0.02, 0.025))
    hollow = [line.get_xdata().tolist() for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert hollow == [list(KEPT[1:]), [0.1]]


def test_the_figure_of_controls_says_what_they_lose():
    tickets, control, fresh = records()
    control["random_mask"] = control["random_mask"] + 0.01
    control["learning_rate_rewinding"] = control["learning_rate_rewinding"] - 0.035
    drawing = figures.controls(tickets, control, fresh)
    assert (
        "At 25 % of the weights, in points above IMP: learning-rate rewinding −0.5; fresh weights trained to k +1.0; "
        in drawing.alt
    )
    assert drawing.caption.startswith("At 25 % of the weights, in points above IMP: random mask +4.0, ")
    assert set(figures.ARMS) == set(matching.CONTROLS)


def test_the_figure_of_the_plain_network_says_how_far_it_matches_where_it_is_stable():
    tickets, *_ = records()
    plain = {**records(start=(0.02, 0.02, 0.02, 0.02, 0.06))[0], "instability": replicated(table(0.1, 0.01), 0)}
    drawing = figures.contrast(plain, tickets, unstable(0.4, 0.01))
    stable, not_ = "where training is stable", "where it is not"
    assert drawing.caption == (
        f"IMP matches in the plain network down to 25 % of the weights {stable}, and 25 % of the weights {not_}; in "
        f"the residual network down to 25 % of the weights {stable}, and 100 % of the weights {not_}."
    )


def test_words_of_the_figures_are_whole_and_apart():
    """Wide, and on a phone."""
    tickets, control, fresh = records()
    plain = {**tickets, "instability": replicated(table(0.1, 0.01), 0)}
    for drawing in (
        figures.loop(), figures.errors(tickets), figures.controls(tickets, control, fresh),
        figures.instability(unstable(0.4, 0.01)), figures.contrast(plain, tickets, unstable(0.4, 0.01)),
    ):  # fmt: skip
        check_words(drawing.caption, drawing.figure)
        check_words(drawing.caption, narrow(drawing.figure))
        assert drawing.alt.endswith(".") and drawing.caption.endswith(".")


def test_examples_lie_on_the_shapes_of_their_digits(mnist1d):
    """Both pictures show the same, and the template explains most of what is drawn before it."""
    drawing = figures.examples(mnist1d)
    check_words("examples", drawing.figure)
    check_words("examples on a phone", drawing.small)
    assert len(drawing.figure.axes) == len(drawing.small.axes) == 10
    for label in range(10):
        examples = mnist1d.train_x[mnist1d.train_y == label][:40]
        for example, template in shapes.fitted(examples, label):
            missed, own = ((part - part.mean()).square().sum() for part in (example - template, example))
            assert missed < 0.25 * own, label


def test_a_template_is_found_where_it_was_put():
    from mnist1d.data import get_templates

    shape = np.interp(np.arange(40), 7 + np.linspace(0, 13, 12), get_templates()["x"][3], 0, 0)
    curve = torch.as_tensor(2.5 * shape + np.linspace(-0.3, 0.9, 40), dtype=torch.float32)
    noise = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    (_, found), _ = shapes.fitted(torch.stack([*noise, curve]), 3)
    assert_close(found, curve, atol=1e-4, rtol=0)


def test_layers_have_readable_names():
    names = "stem.0.weight", "blocks.0.conv1.weight", "blocks.2.shortcut.0.weight", "linear.weight"
    assert [figures._layer(name) for name in names] == ["stem", "block 1, conv 1", "block 3, shortcut", "linear"]


def test_a_preset_leaves_out_what_it_sets_nothing_for():
    """The presets of the first edition do without the second's experiments; those have all."""
    added = {"fresh_starts", "recalibrated_pairs", "found_masks", "architectures", "other_instabilities"}
    for name in PRESETS:
        missing = set(EXPERIMENTS) - set(experiments_of(name))
        assert added <= missing if name not in ("smoke", "book") else not added & missing, name
