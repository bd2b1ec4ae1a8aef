"""Findings on records made by hand: the rules that decide."""

import pytest
import torch
from torch.testing import assert_close

from lotterybook import claims, verdicts
from lotterybook.barriers import findings as barriers
from lotterybook.experiment import recorded
from lotterybook.limits import findings as limits
from lotterybook.retraining import findings as retraining
from lotterybook.tickets import findings as tickets_findings
from lotterybook.verdicts import FAILS, HOLDS, PARTLY, UNTESTED


def table(*values):
    return torch.tensor(values, dtype=torch.float64)


def replicated(values):
    """Two replicates around each value."""
    return torch.stack([values * 0.9, values * 1.1], -1)


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
    tickets = {"error": torch.tensor([[[0.1, 0.1]], [[0.5, 0.5]]]), "density": torch.tensor([1.0, 0.1])}
    joined = torch.tensor([[[0.0, 0.0]]])  # connected, and none matches: "if" has no case
    assert barriers._iff("claim", tickets, joined, sparse=True).verdict == UNTESTED
