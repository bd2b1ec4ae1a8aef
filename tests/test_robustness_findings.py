"""Chapter 3 on records made by hand: the rule of claim C2, our own questions, figures that say what they show."""

from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from lotterybook import style, verdicts
from lotterybook.narrow import narrow
from lotterybook.robustness import cases, figures, findings

DENSE = torch.tensor([0.019, 0.020, 0.021], dtype=torch.float64)  # so the largest error that matches is 2.5 %


def made(heights, matching, connected=None):
    """Records of one perturbed level, 4, and of further ones, 3 and 6 on, at rewind steps 0 and 75 of 0, 25 and 75.

    ``heights`` (n, 2): mean barrier back after length 1 at levels 4, 6, 7, ...; ``matching``, ``connected``: whether
    the next level matches, and is connected. Level 3 returns, matches and must not count.
    """
    heights, matching = torch.tensor(heights, dtype=torch.float64), torch.tensor(matching)
    connected = matching if connected is None else torch.tensor(connected)
    levels = [4, *range(6, 5 + len(heights))]
    spread = torch.tensor([0.9, 1.1], dtype=torch.float64)
    error = DENSE.expand(12, 3, 3).clone()
    error[1:, 1] = 0.5  # step 25 is not perturbed, and would spoil what it got into
    height = torch.zeros(11, 3, 3, dtype=torch.float64)
    height[:, 1] = 0.9
    for n, level in enumerate(levels):
        error[level + 1, [0, 2]] = torch.where(matching[n], 0.0249, 0.0251)[:, None].double()
        height[level, [0, 2]] = torch.where(connected[n], 0.0099, 0.0101)[:, None].double()
    unit = torch.cat([heights[1:], torch.zeros(1, 2, dtype=torch.float64)])
    record = {
        "random": torch.stack([heights[:1] / 2, heights[:1], torch.ones_like(heights[:1])], 1)[..., None] * spread,
        "pruning": heights[:1, None, :, None] * spread / 10, "order": heights[:1, :, None] * spread,
        "unit": unit[..., None] * spread, "level": torch.tensor([4]), "unit_level": torch.tensor([*levels[1:], 3]),
        "scale": torch.tensor([0.5, 1, 2]).double(), "pruning_scale": torch.tensor([1.0]).double(),
        "rewind_step": torch.tensor([0, 75]), "distance": torch.ones(1, 2, 2), "norm": torch.full((1, 2, 2), 4.0),
        "density": torch.tensor([0.41]).double(),
    }  # fmt: skip
    tickets = {"error": error, "rewind_step": torch.tensor([0, 25, 75]), "density": 0.8 ** torch.arange(12).double()}
    return record, tickets, {"height": height, "rewind_step": torch.tensor([0, 25, 75])}


NEAR, FAR = 0.0099, 0.0101  # a mean barrier of 1 point is the limit


@pytest.mark.parametrize(
    ("near", "verdict"), [(10, verdicts.HOLDS), (9, verdicts.HOLDS), (8, verdicts.PARTLY), (7, verdicts.FAILS)]
)
def test_the_share_of_matching_cases_that_return_decides(near, verdict):
    """Ten of twelve cases match; the other two return, which must not help."""
    heights = [NEAR] * near + [FAR] * (10 - near) + [0.0, 0.0]
    matching = [True] * 10 + [False] * 2
    records = made([heights[i : i + 2] for i in range(0, 12, 2)], [matching[i : i + 2] for i in range(0, 12, 2)])
    (row,) = findings.verdict(*records)
    assert row.verdict == verdict
    assert row.value.endswith(f"returns in {near} of 10 cases; where it does not, in 2 of 2")
    said = findings._who(cases.cases(*records), *records[:2])
    assert f"{near} of 10 within 1.0 points" in said[1] and "dense error 0.10 points" in said[1]


def test_no_matching_case_is_no_verdict():
    row = findings.judged(*made([[0.0, 0.0]], [[False, False]]))
    assert row.verdict == verdicts.UNTESTED and "returns in 0 of 0 cases" in row.value


def test_cases_are_sorted_and_begin_at_higher_sparsities():
    record, tickets, barriers = made(
        [[0.5, NEAR], [0.6, FAR], [0.7, 0.0]], [[True, True], [False, True], [False, False]]
    )
    some = cases.cases(record, tickets, barriers)
    assert some.level.tolist() == [4, 6, 7] and some.rewind_step.tolist() == [0, 75]
    assert some.matches.tolist() == [[True, True], [False, True], [False, False]]
    assert some.returns.tolist() == [[False, True], [False, False], [False, True]]
    assert_close(some.back.mean(-1), torch.tensor([[0.5, NEAR], [0.6, FAR], [0.7, 0.0]]).double())
    shuffled = {**record, "unit": record["unit"].flip(0), "unit_level": record["unit_level"].flip(0)}
    assert_close(cases.cases(shuffled, tickets, barriers).back, some.back)
    twice = {**record, "unit_level": torch.tensor([6, 4, 3])}  # level 4 is among the perturbed already
    assert_close(cases.cases(twice, tickets, barriers).back, some.back[:2])
    alone = {name: value for name, value in record.items() if not name.startswith("unit")}
    assert cases.cases(alone, tickets, barriers).level.tolist() == [4]


def test_returning_is_counted_against_the_next_level_being_connected():
    records = made([[0.5, NEAR], [0.6, NEAR]], [[False, True]] * 2, connected=[[False, True], [True, False]])
    some = cases.cases(*records)
    count = verdicts.crossed(some.returns, some.connected)
    assert (count.both, count.only_matching, count.only_connected, count.neither) == (1, 1, 1, 1)
    assert count.agreement == count.chance == 0.5
    said = findings._ends_with_imp(some)
    assert "of 4 the training returns and IMP's own next level is connected in 1, neither in 1" in said[0]
    each = verdicts.crossed(some.back <= cases.RETURNS, some.own <= cases.RETURNS)
    assert sum(each) == 8 and each.both == 1  # 0.9 and 1.1 times 0.99 points: one replicate of two


def test_the_critical_length_is_where_the_barrier_crosses_one_point():
    record, *_ = made([[0.02, 0.004]], [[True, True]])
    found = cases.critical(record)  # heights at 0.5, 1, 2: half, whole, 1 of everything
    first = 0.5 + 0.5 * (0.01 - 0.009) / 0.009
    assert_close(found[0, 0], torch.tensor([first, 0.5 * 0.01 / 0.011]).double())
    second = [1 + (0.01 - b) / (s - b) for b, s in ((0.0036, 0.9), (0.0044, 1.1))]
    assert_close(found[0, 1], torch.tensor(second).double())
    assert cases.critical(record, "pruning").isinf().all()
    assert findings._how_far(record)[0].count("never up to") == 0
    low = {**record, "random": record["random"] / 1000}
    assert "k = 0 never up to 2 in 2; " in findings._how_far(low)[0]
    assert "One is 25 % of the weights' length" in findings._how_far(low)[0]


def test_who_is_named_and_drawn():
    record, tickets, barriers = made(
        [[0.5, NEAR], [0.6, FAR], [0.7, 0.0]], [[True, True], [False, True], [False, False]]
    )
    said = " ".join(findings._who(cases.cases(record, tickets, barriers), record, tickets))
    assert "in 1 of 3 cases whose next level matches, and in 1 of 3 of the others" in said
    assert "Cases that match and do not return: k = 0, level 4 (50.0 points); k = 75, level 6 (1.0 points)." in said
    assert "Cases that return and do not match: k = 75, level 7 (0.0 points)." in said
    assert "two agree in 2 of 2" in said
    drawn = figures.who_returns(record, tickets, barriers)
    assert drawn.alt.startswith("Training returns from a random perturbation of length 1 in 1 of 3 cases")
    assert "k = 75: returns at 4, 7, the next level matches after 4, 6, barriers 1.0, 1.0, 0.0" in drawn.alt
    texts = [text.get_text() for text in drawn.figure.axes[0].texts]
    assert sorted(texts) == ["0.0", "1.0*", "1.0*", "50*", "60", "70"]
    some = cases.cases(record, tickets, barriers)
    assert findings._named(some, some.matches) == "step 0 at level 4; step 75 at levels 4, 6"
    assert findings._named(some, some.matches & False) == "none"
    framed = [text.get_text() for text in drawn.figure.axes[0].texts if text.get_bbox_patch()]
    assert sorted(framed) == ["0.0", "1.0*", "50*"]  # one without the other
    from_one = "1 of 2 after length 1, 0 of 2 after length 2"
    assert from_one in figures.back(record).alt and "level 4, k = 75: 0.5, 1.0, 100.0" in figures.back(record).alt
    table = findings.told_cases(record, tickets, barriers)
    assert "| 7 | 75 | 0.0 ± 0.0 points | 1.0 points | 0.51 points | no |" in table and len(table) == 2 + 6


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def replicated(values):
    """Two replicates around each value."""
    return torch.stack([values * 0.9, values * 1.1], -1)


LATER = {
    "barrier": replicated(tensor([0, 0.01, 0.02], [0, 0.3, 0.4])), "scale": tensor(0, 1, 2),
    "error": replicated(tensor([0.1, 0.1, 0.1], [0.1, 0.2, 0.3])), "step": torch.tensor([75, 900]),
    "level": torch.tensor(8),
}  # fmt: skip


def test_our_own_questions_are_judged_by_their_rules():
    """Two cases at levels 4 and 6 each; the pruning direction is ten times milder, another data order as random."""
    records = made([[0.5, NEAR], [0.6, NEAR]], [[False, True]] * 2, connected=[[False, True], [True, False]])
    ends, along, order, later = findings.questions(*records, LATER)
    assert ends.value == "the two agree in 2 of 4 cases; by chance in 50 %" and ends.verdict == verdicts.FAILS
    assert along.value == "the two agree in 2 of 2; training returns in 1 and 1" and along.verdict == verdicts.HOLDS
    assert order.verdict == verdicts.HOLDS
    assert later.value == "barrier 2.0 points, then 40.0 points; error 10.0 %, then 30.0 %"
    assert later.verdict == verdicts.HOLDS
    mild = {**records[0], "pruning": records[0]["pruning"] / 10}
    assert findings.questions(mild, *records[1:], LATER)[1].verdict == verdicts.FAILS  # returns where random does not
    swapped = {**LATER, "barrier": LATER["barrier"].flip(0)}  # the barrier is lower later, the error higher
    assert findings.questions(*records, swapped)[-1].verdict == verdicts.PARTLY
    swapped["error"] = LATER["error"].flip(0)
    assert findings.questions(*records, swapped)[-1].verdict == verdicts.FAILS


def test_a_blow_is_told_with_both_kinds_of_statistics():
    """Levels 0 to 2, of which 1 and 2 are perturbed; the error doubles with each mask, halves with fresh statistics."""
    masked, moved = tensor(0.2, 0.4, 0.8)[:, None, None], tensor(0.6, 0.9)[:, None, None]
    record = {
        **{name: values.expand(-1, 2, 2) / over for over, end in ((1, ""), (2, "_recalibrated"))
           for name, values in ((f"masked{end}", masked), (f"perturbed{end}", moved))},
        "level": torch.tensor([1, 2]), "density": tensor(1, 0.8, 0.64), "rewind_step": torch.tensor([0, 75]),
    }  # fmt: skip
    panes = figures.blow(record, {"error": torch.full((3, 2, 2), 0.05)}, 75)
    assert list(panes.drawings) == ["0", "75"] and panes.default == "75"
    assert panes.caption.startswith("Masked by level 2, the rewind point of step 75 errs on 80 % of the test set; ")
    assert "from 10 % unmasked to 40 % masked and 45 % perturbed besides" in panes.caption
    assert panes.caption.endswith("after training it is 5.0 %.")
    assert "masked 20.0, 40.0, 80.0" in panes.drawings["0"].alt and "perturbed 60.0, 90.0" in panes.drawings["0"].alt


def test_lines_critical_lengths_and_kinds_say_what_was_found():
    curve = torch.stack([tensor(0.02, 0.3, 0.04), tensor(0.02, 0.5, 0.04)], 1)
    found = {1.0: SimpleNamespace(curve=curve, height=tensor(0.27, 0.47), gamma=tensor(0, 0.5, 1))}
    assert "rises after length 1 by 27.0, 47.0 points" in figures.lines_back(found).caption
    record, *_ = made([[0.02, 0.004]], [[True, True]])
    random = record["random"]
    for later, lengths, far in ((random, ("0.5, 0.5", "1.0, 1.0"), 1), (random * 4, ("0.5, below 0.5", "1.0, "), 0)):
        drawn = figures.critical({**record, "random": torch.cat([random, later]), "level": torch.tensor([4, 8])})
        assert all(f"k = {k}: {told}" in drawn.alt for k, told in zip((0, 75), lengths, strict=True))
        assert "(dashed) from 1 of 2 rewind steps at level 4 and " in drawn.caption
        assert drawn.caption.endswith(f"from {far} of 2 rewind steps at level 8.")
    panes = figures.kinds(record)
    assert list(panes.drawings) == ["1"] and panes.caption.startswith("After length 1 training returns in 1 of 2 cases")
    assert "in 2 of 2 from the pruning direction" in panes.caption  # ten times milder
    assert panes.caption.endswith("with another data order, not perturbed, in 1 of 2.")


def test_later_blows_are_drawn_beside_none():
    panes = figures.forgiveness(LATER)
    assert list(panes.drawings) == ["1", "2"] and panes.default == "2"
    assert panes.caption == (
        "A perturbation of length 2 leaves a barrier of 2.0 points and an error of 10.0 % at step 75, and 40.0 points "
        "and 30.0 % at step 900."
    )
    lines = panes.drawings["1"].figure.axes[1].get_lines()
    assert [line.get_color() for line in lines] == [style.BLUE, style.GREY]


def test_two_trainings_side_by_side_are_measured_in_units():
    path = {
        "distance": replicated(tensor([2, 4], [3, 5], [1, 6])), "scale": tensor(1, 2),
        "cosine": replicated(tensor([0, 0], [0.5, 0], [0.8, 0.1])),
        "travelled": replicated(tensor(0, 5, 8)), "step": torch.tensor([75, 500, 1500]),
    }  # fmt: skip
    drawn = figures.apart(path)
    assert "at most 1.5 units apart and end 0.5 apart; the cosine of their displacements is 0.80." in drawn.caption
    assert "length 2: 2.0, 3.0, 3.0, cosine 0.10. Dotted: the unperturbed training travels 4.0 units" in drawn.alt


def test_the_line_across_a_plane_is_read_off_its_grid():
    """The error 2 x + y is linear, and so is its interpolation; a ridge at x = 5 is seen where the line crosses it."""
    x, y = torch.linspace(-2, 8, 21).double(), torch.linspace(-1, 4, 21).double()
    error = (2 * x + y[:, None]) / 100
    position, line = figures._between(x, y, error, tensor(1.1, 0.3), tensor(6.3, 2.9))
    assert_close(line, (2 * (1.1 + 5.2 * position) + 0.3 + 2.6 * position) / 100)
    assert_close(figures._between(x, y, error, tensor(-2, -1), tensor(8, 4))[1][[0, -1]], tensor(-0.05, 0.2))
    ridge = torch.full_like(error, 0.02)
    ridge[:, x == 5] = 0.5
    track = tensor([[0, 0], [4, 0]], [[0, 1], [6, 3]])
    record = {
        "error": torch.stack([ridge * 0 + 0.02, ridge]), "horizontal": x.expand(2, -1), "vertical": y.expand(2, -1),
        "track": track.expand(2, 2, 2, 2), "scale": tensor(1, 4),
    }  # fmt: skip
    drawn = figures.planes(record)
    assert drawn.caption.startswith(
        "After length 1 the ends are 3.6 apart and the error between them rises by 0.0 points"
    )
    rise = float(drawn.caption.split("rises by ")[2].split(" ")[0])
    assert 40 < rise <= 48.1
    assert {axes.get_aspect() for axes in drawn.figure.axes[:2]} == {1.0}
    assert narrow(drawn.figure).get_figwidth() == 3.6
