"""Findings on records made by hand: the rules that decide."""

import pytest
import torch
from torch.testing import assert_close

from lotterybook import claims, verdicts
from lotterybook.barriers import findings as barriers
from lotterybook.retraining import findings as retraining
from lotterybook.robustness import findings as robustness
from lotterybook.tickets import findings as tickets_findings
from lotterybook.verdicts import FAILS, HOLDS, PARTLY, UNTESTED


def table(*values):
    return torch.tensor(values, dtype=torch.float64)


def replicated(values):
    """Two replicates around each value."""
    return torch.stack([values * 0.9, values * 1.1], -1)


# Two levels, three lengths, two rewind steps: the mean barrier for each
HEIGHTS = table([[0.30, 0.00], [0.40, 0.01], [0.50, 0.05]], [[0.01, 0.00], [0.015, 0.00], [0.019, 0.01]])
PERTURBED = {
    "random": replicated(HEIGHTS), "pruning": replicated(HEIGHTS / 10),
    "order": replicated(table([0.5, 0], [0.5, 0.1])),
    "scale": table(1, 2, 4), "level": torch.tensor([2, 5]), "rewind_step": torch.tensor([0, 100]),
    "distance": replicated(table([2, 1], [2, 1])), "norm": replicated(table([4, 4], [8, 4])),
    "density": table(0.6, 0.3),
}  # fmt: skip
LATER = {
    "barrier": replicated(table([0, 0.01], [0, 0.3])), "error": replicated(table([0.1, 0.1], [0.1, 0.2])),
    "scale": table(0, 2), "step": torch.tensor([100, 900]),
}  # fmt: skip


def test_the_critical_length_is_where_the_barrier_crosses_two_points():
    found = robustness.critical(PERTURBED)
    assert_close(found[0, 0], table(0.02 / 0.27, 0.02 / 0.33))
    assert_close(found[0, 1], table(2 + 2 * (0.02 - 0.009) / 0.036, 2 + 2 * (0.02 - 0.011) / 0.044))
    assert_close(found[1, 0], table(4, 2 + 2 * (0.02 - 0.0165) / 0.0044))  # 0.9 * 0.019 does not reach it
    assert_close(found[1, 1], table(4, 4))
    assert_close(robustness.critical_share(PERTURBED)[0], found[0] * table(0.5, 0.25)[:, None])


def test_robustness_is_judged_by_its_rules():
    rows = robustness.sgd_robustness(PERTURBED, LATER)
    one, along, two, four, start, order, later = (row.verdict for row in rows)
    assert (one, along, two) == (HOLDS, HOLDS, HOLDS)  # 1 % at most at k = 100
    assert four == PARTLY  # one of two levels
    assert "k = 100: 1 of 2 levels" in rows[3].value and "k = 0" not in rows[3].value
    assert start == PARTLY  # from the initialization lost at one level of two
    assert order == FAILS  # k = 100: alike at level 2, where both return, not at level 5; k = 0 does not count
    assert rows[5].value == "1 of 2" and later == HOLDS
    unlike = {**PERTURBED, "order": PERTURBED["order"].clone()}
    unlike["order"][:, 0] = 0  # returns from another data order at k = 0
    assert robustness.sgd_robustness(unlike, LATER)[5] == rows[5]
    assert rows[6].value.startswith("barrier 1.0 ± 0.1 points, then 30.0 ± 4.2 points; error 10.0")
    swapped = {**LATER, "barrier": LATER["barrier"].flip(0)}  # the barrier is lower later, the error higher
    assert robustness.sgd_robustness(PERTURBED, swapped)[-1].verdict == PARTLY
    swapped["error"] = LATER["error"].flip(0)
    assert robustness.sgd_robustness(PERTURBED, swapped)[-1].verdict == FAILS


def test_who_returns_depends_on_the_limit():
    """Three replicates: a barrier below 2 points, one within epsilon, and one within epsilon at a higher error."""
    tickets = {"error": table([[0.09, 0.11, 0.10]], [[0.20, 0.20, 0.20]]), "density": table(1, 0.8)}  # epsilon is 0.01
    record = {
        "random": table([[0.9, 0.9, 0.9]], [[0.015, 0.005, 0.005]])[None], "scale": table(1, 2),
        "random_error": table([[0.9, 0.9, 0.9]], [[0.2, 0.205, 0.22]])[None], "level": torch.tensor([1]),
    }  # fmt: skip
    near, within, lcs = robustness.by_limit(record, tickets, 2.0)
    assert near.tolist() == [[[True, True, True]]]
    assert within.tolist() == [[[False, True, True]]]
    assert lcs.tolist() == [[[False, True, False]]]
    assert not any(limit.any() for limit in robustness.by_limit(record, tickets, 1.0))


REFILLED = {
    "refilled": table([[0.10, 0.10], [0.19, 0.30]]), "already": table([[0.2, 0.2], [0.6, 0.8]]),
    "removed": table([[0.1, 0.1], [0.1, 0.3]]), "removed_without": table([[0.2, 0.2], [0.2, 0.2]]),
    "fraction": table(0.2).squeeze(), "rewind_step": torch.tensor([0, 100]),
}  # fmt: skip
TICKETS = {  # epsilon is 0.014; from k = 0 level 1 fails, from k = 100 it matches and level 2 fails
    "error": table([[0.09, 0.11], [0.09, 0.11]], [[0.2, 0.2], [0.1, 0.1]], [[0.1, 0.1], [0.2, 0.2]]),
    "density": table(1, 0.8, 0.64),
}  # fmt: skip
ARMS = {
    "rewound": table([0.10, 0.10], [0.11, 0.11], [0.2, 0.2]), "kept": table([0.1, 0.1], [0.1, 0.1], [0.1, 0.1]),
    "short": table([0.1, 0.1], [0.1, 0.12], [0.3, 0.3]), "none": table([0.1, 0.1], [0.3, 0.3], [0.1, 0.1]),
    "density": table(1, 0.8, 0.64),
}  # fmt: skip


def test_new_small_weights_are_counted_up_to_what_is_pruned():
    assert_close(retraining.new_small(REFILLED), table([[0.5, 0.5], [0.95, 1.0]]))


def test_levels_that_match_stand_apart_from_the_others():
    values = torch.arange(12, dtype=torch.float64).view(3, 2, 2)  # three levels, two rewind steps
    tickets = {"error": table(*[[[0.1, 0.1], [0.1, 0.1]]] * 2, [[0.3, 0.3], [0.1, 0.1]], [[0.1, 0.1], [0.1, 0.3]])}
    matching, other = retraining.split(values, tickets)
    assert [part.tolist() for part in matching] == [[[0, 1]], [[2, 3], [6, 7]]]
    assert [part.tolist() for part in other] == [[[4, 5], [8, 9]], [[10, 11]]]


def test_retraining_is_judged_by_its_rules():
    rows = retraining.role_of_retraining(REFILLED, ARMS, TICKETS)
    assert [row.verdict for row in rows] == [HOLDS, FAILS, FAILS, HOLDS, PARTLY]
    assert rows[0].value == "where IMP matches: k = 100: 98 ± 4 %; at other levels: k = 0: 50 ± 0 %"
    assert rows[1].value == "where IMP matches: k = 100: 30 ± 14 %; at other levels: k = 0: 80 ± 0 %"
    assert rows[3].value == "IMP 80 %; weights kept 64 %; short retraining 80 %; no retraining 100 %"
    assert rows[4].value == "IMP 80 %; short retraining 80 %; 10.0 ± 0.0 points at the sparsest level"
    near = {**ARMS, "short": ARMS["rewound"]}
    assert retraining.role_of_retraining(REFILLED, near, TICKETS)[-1].verdict == FAILS
    late = {**ARMS, "rewound": ARMS["kept"]}
    assert retraining.role_of_retraining(REFILLED, late, TICKETS)[-1].verdict == HOLDS
    failing = {**TICKETS, "error": TICKETS["error"].clone()}
    failing["error"][1] = failing["error"][1].flip(0)  # level 1 matches from k = 0, and not from k = 100
    rows = retraining.role_of_retraining(REFILLED, ARMS, failing)
    assert [row.verdict for row in rows[:2]] == [PARTLY, HOLDS]
    failing["error"][1:] = 0.2
    rows = retraining.role_of_retraining(REFILLED, ARMS, failing)
    assert [row.verdict for row in rows[:2]] == [UNTESTED, UNTESTED]
    assert "where IMP matches: no level" in rows[0].value


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


def test_what_lies_in_the_lcs_set_is_as_good_as_the_level_before_and_connected():
    """One rewind step, four replicates: as good and joined; worse; apart; as good only as the dense one."""
    error = table([0.10, 0.10, 0.11, 0.11], [0.10, 0.20, 0.10, 0.11], [0.05, 0.05, 0.05, 0.11])[:, None]
    found = barriers.in_lcs_set(
        {"error": error, "density": table(1, 0.8, 0.6)},
        {"height": table([0.0, 0.0, 0.5, 0.005], [0.0, 0.0, 0.0, 0.5])[:, None]},
    )
    assert found[:, 0].tolist() == [[True, False, False, True], [True, True, True, False]]


def test_connected_levels_and_blocks_are_by_the_mean():
    barrier = replicated(table([0.3, 0.01], [0.01, 0.019], [0.0, 0.3]))
    joined = verdicts.connected(barrier, 0.02)
    assert joined.T.tolist() == [[False, True, True], [True, True, False]]
    height = torch.zeros(4, 4, 2, 2, dtype=torch.float64)
    height[0, 1:, 0] = height[1:, 0, 0] = height[3, 0, 1] = height[0, 3, 1] = 0.1
    assert barriers.block({"height": height}, 0.02) == [0, 2]


def test_a_control_is_compared_with_imp_at_its_own_levels():
    tickets = {"error": replicated(table([0.1, 0.1], [0.2, 0.1], [0.4, 0.2])), "rewind_step": torch.tensor([0, 100])}
    control = {"level": torch.tensor([2]), "rewind_step": torch.tensor(100)}
    assert_close(tickets_findings._imp(tickets, control), table([0.18, 0.22]))


def test_margins_say_how_far_inside_the_last_matching_level_is(monkeypatch):
    """Dense 10 ± 1 %; at step 0 nothing matches, at step 100 level 1 does, with one replicate of two."""
    error = torch.stack([table([0.10, 0.10], [0.3, 0.10]), table([0.12, 0.12], [0.3, 0.13])], -1)
    monkeypatch.setattr(tickets_findings, "QUOTED_LEVELS", (1,))
    said = tickets_findings._errors({"error": error, "rewind_step": torch.tensor([0, 100])})
    assert said["margin k=100"] == f"{100 * (0.11 + 0.02 / 2**0.5 - 0.115):.2f} points"
    assert said["last matching k=100"] == "1 of 2" and said["error level=1 k=0"] == "30.0 %"


def test_the_first_stable_step():
    height = table([0.3, 0.3], [0.01, 0.05], [0.01, 0.02], [0, 0])
    first = tickets_findings.first_stable
    assert first({"height": height}) == 2 and first({"height": height[:2]}) is None


def test_without_a_late_rewind_step_the_early_ones_decide_about_stability():
    """Dense 10 ± 1 %, stable from step 100; rewind steps 0 and 50 or 100, of which the second matches throughout."""
    error = table([0.09, 0.11], [0.3, 0.3])[:, None].repeat(1, 2, 1)[[0, 1, 1, 1]]
    error[:, 1] = table(0.09, 0.11)
    density, height = table(1, 0.8, 0.64, 0.5), replicated(table(0.3, 0.04, 0.01))
    unstable = {"height": height, "rewind_step": torch.tensor([0, 50, 100])}

    def judged(step, error=error):
        tickets = {"error": error, "density": density, "rewind_step": torch.tensor([0, step])}
        row = tickets_findings.tickets_and_stability(tickets, unstable)[2]
        return row.value, row.verdict

    assert judged(100) == ("k = 100; IMP works at k = 100", HOLDS)
    assert judged(50) == ("k = 100; no later rewind step run; IMP works at k = 50", FAILS)
    assert judged(100, error.flip(1)) == ("k = 100; IMP works at k = 0", FAILS)
    lost = error[:, [0, 0]]
    assert judged(50, lost) == ("k = 100; no later rewind step run; IMP works at none", HOLDS)
    assert judged(100, lost)[1] == PARTLY


def test_numbers_are_written_with_their_spread():
    assert verdicts.percent(0.1234) == "12.3 %" and verdicts.points(-0.05, 0) == "−5 points"
    assert verdicts.percent(table(0.1, 0.2)) == "15.0 ± 7.1 %"


def test_every_claim_has_its_verdicts_and_the_counts_are_theirs():
    tables = claims.claims("book")
    assert list(tables) == ["C0", "C1", "C2", "C3", "C4"]
    said = claims.numbers("book")
    for claim, rows in tables.items():
        counts = [part.split(" ", 1) for part in said[f"verdicts {claim}"].split(", ")]
        assert sum(int(count) for count, _ in counts) == len(rows)
        for verdict, word in verdicts.VERDICTS.items():
            expected = sum(row.verdict == verdict for row in rows)
            assert sum(int(count) for count, called in counts if called == word) == expected


def test_what_no_case_was_tried_of_is_no_verdict():
    """A share of none is not zero, and all of none is not all."""
    assert verdicts.grade(float("nan")) == verdicts.majority([]) == UNTESTED
    assert verdicts.grade(0.0) == verdicts.majority([False]) == FAILS
    assert verdicts.majority([True, False]) == PARTLY and verdicts.majority([True]) == HOLDS
    tickets = {"error": torch.tensor([[[0.1, 0.1]], [[0.5, 0.5]]]), "density": torch.tensor([1.0, 0.1])}
    joined = torch.tensor([[[0.0, 0.0]]])  # connected, and none matches: "if" has no case
    assert barriers._iff("claim", tickets, joined, sparse=True).verdict == UNTESTED


def test_at_two_points_a_network_is_not_stable():
    """Frankle et al. (2020) ask for less than 2 %."""
    record = {"random": torch.tensor([[[[0.02, 0.02]], [[0.0199, 0.0199]]]]), "scale": torch.tensor([1.0, 2.0])}
    returned = [robustness.returns(record, "random", scale).item() for scale in (1.0, 2.0)]
    assert returned == [False, True]
