"""The rule of claim C2 on records made by hand."""

import pytest
import torch
from torch.testing import assert_close

from lotterybook import verdicts
from lotterybook.robustness import drawings, evidence

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
    row = evidence.judged(*records)
    assert row.verdict == verdict
    assert f"{near} of 10 within 1.0 points" in row.value and "does not match 2 of 2 within" in row.value
    assert "deviation of the dense error 0.10 points" in row.value
    assert "another data order instead 2 of 2 and 0 of 0" in row.value  # at level 4 alone


def test_no_matching_case_is_no_verdict():
    row = evidence.judged(*made([[0.0, 0.0]], [[False, False]]))
    assert row.verdict == verdicts.UNTESTED and "0 of 0 within 1.0 points" in row.value


def test_cases_are_sorted_and_begin_at_higher_sparsities():
    record, tickets, barriers = made(
        [[0.5, NEAR], [0.6, FAR], [0.7, 0.0]], [[True, True], [False, True], [False, False]]
    )
    some = evidence.cases(record, tickets, barriers)
    assert some.level.tolist() == [4, 6, 7] and some.rewind_step.tolist() == [0, 75]
    assert some.matches.tolist() == [[True, True], [False, True], [False, False]]
    assert some.returns.tolist() == [[False, True], [False, False], [False, True]]
    assert_close(some.back.mean(-1), torch.tensor([[0.5, NEAR], [0.6, FAR], [0.7, 0.0]]).double())
    shuffled = {**record, "unit": record["unit"].flip(0), "unit_level": record["unit_level"].flip(0)}
    assert_close(evidence.cases(shuffled, tickets, barriers).back, some.back)
    twice = {**record, "unit_level": torch.tensor([6, 4, 3])}  # level 4 is among the perturbed already
    assert_close(evidence.cases(twice, tickets, barriers).back, some.back[:2])
    alone = {name: value for name, value in record.items() if not name.startswith("unit")}
    assert evidence.cases(alone, tickets, barriers).level.tolist() == [4]


def test_returning_is_counted_against_the_next_level_being_connected():
    records = made([[0.5, NEAR], [0.6, NEAR]], [[False, True]] * 2, connected=[[False, True], [True, False]])
    some = evidence.cases(*records)
    count = evidence.crossed(some.returns, some.connected)
    assert (count.both, count.only_matching, count.only_connected, count.neither) == (1, 1, 1, 1)
    assert count.agreement == count.chance == 0.5
    said = evidence._ends_with_imp(some)
    assert "of 4 the training returns and IMP's own next level is connected in 1, neither in 1" in said[0]
    each = evidence.crossed(some.back <= evidence.RETURNS, some.each_connected)
    assert sum(each) == 8 and each.both == 1  # 0.9 and 1.1 times 0.99 points: one replicate of two


def test_the_critical_length_is_where_the_barrier_crosses_one_point():
    record, *_ = made([[0.02, 0.004]], [[True, True]])
    found = evidence.critical(record)  # heights at 0.5, 1, 2: half, whole, 1 of everything
    first = 0.5 + 0.5 * (0.01 - 0.009) / 0.009
    assert_close(found[0, 0], torch.tensor([first, 0.5 * 0.01 / 0.011]).double())
    second = [1 + (0.01 - b) / (s - b) for b, s in ((0.0036, 0.9), (0.0044, 1.1))]
    assert_close(found[0, 1], torch.tensor(second).double())
    assert evidence.critical(record, "pruning").isinf().all()
    assert evidence._how_far(record)[0].count("never up to") == 0
    low = {**record, "random": record["random"] / 1000}
    assert "k = 0 none, never up to 2 in 2" in evidence._how_far(low)[0]
    assert "One is 25 % of the weights' length" in evidence._how_far(low)[0]


def test_who_is_named_and_drawn():
    record, tickets, barriers = made(
        [[0.5, NEAR], [0.6, FAR], [0.7, 0.0]], [[True, True], [False, True], [False, False]]
    )
    said = " ".join(evidence._who(evidence.cases(record, tickets, barriers), record))
    assert "in 1 of 3 cases whose next level matches, and in 1 of 3 of the others" in said
    assert "Cases that match and do not return: k = 0, level 4 (50.0 points); k = 75, level 6 (1.0 points)." in said
    assert "Cases that return and do not match: k = 75, level 7 (0.0 points)." in said
    assert "two agree in 2 of 2" in said
    drawn = drawings.who_returns(record, tickets, barriers)
    assert drawn.alt.startswith("Training returns from a random perturbation of length 1 in 1 of 3 cases")
    assert "k = 75: returns at 4, 7, the next level matches after 4, 6, barriers 1.0, 1.0, 0.0" in drawn.alt
    texts = [text.get_text() for text in drawn.figure.axes[0].texts]
    assert sorted(texts) == ["0.0", "1.0*", "1.0*", "50.0*", "60.0", "70.0"]
    panes = drawings.back(record, 4)
    assert "level 4 training returns from a random perturbation of length 1 at 1 of 2" in panes.drawings["4"].alt
