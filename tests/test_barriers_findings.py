"""Findings of chapter 2 on records made by hand: counting, the rules that decide, and what the figures say."""

import itertools

import pytest
import torch
from test_figures import check_words
from torch.testing import assert_close

from lotterybook import records, style
from lotterybook.barriers import figures, findings, halves, maps, readings
from lotterybook.presets import PRESETS
from lotterybook.verdicts import FAILS, HOLDS, PARTLY, UNTESTED, Contingency
from lotterylib import landscape

NAN = float("nan")
STEPS, LEVELS = torch.tensor([0, 75]), 8


def table(*values):
    return torch.tensor(values, dtype=torch.float64)


def replicated(values):
    """Two replicates around each value."""
    return torch.stack([values * 0.9, values * 1.1], -1)


def world(start_matches=4, high=0.7, sparsest=0.3):
    """Errors and barriers of eight levels from k = 0 and 75; the dense error is 2 %.

    From 0 the first ``start_matches`` levels match, behind a barrier that is ``high`` throughout. From 75 all but the
    last match and are connected; the last does not match and has the barrier ``sparsest``.
    """
    level = torch.arange(LEVELS + 1)
    start = torch.where(level <= start_matches, 0.02, 0.08)
    later = torch.where(level < LEVELS, 0.021, 0.05)
    later[0] = 0.02
    error = torch.stack([start, later], 1).double()[..., None] + table(-0.001, 0.001)
    height = torch.full((LEVELS, 2), 0.001, dtype=torch.float64)
    height[:, 0], height[-1, 1] = high, sparsest
    height = replicated(height)
    gamma = torch.linspace(0, 1, 3, dtype=torch.float64)[:, None, None]
    curve = gamma * error[:-1, None] + (1 - gamma) * error[1:, None]
    curve[:, 1] += height
    axes = {"density": 0.8 ** level.double(), "rewind_step": STEPS}
    about = {"settings": {"main": {"network": "resnet1d"}}}
    tickets = records.Record({"error": error, **axes}, about)
    return tickets, records.Record({"height": height, "recalibrated": height / 2, "curve": curve, **axes}, {})


def test_pairs_are_counted_as_a_loop_counts_them():
    """By the sparser network, per replicate and by means, at some levels, with two tolerances, without NaN."""
    generator = torch.Generator().manual_seed(0)
    error = 0.02 + 0.02 * torch.rand(7, 3, 4, generator=generator, dtype=torch.float64)
    barrier = 0.02 * torch.rand(6, 3, 4, generator=generator, dtype=torch.float64)
    error[5, 1, 2] = barrier[1, 0, 0] = torch.nan
    dense = error[0].mean()
    for match, joined in ((0.005, 0.005), (0.0025, 0.01)):
        expected = dict.fromkeys(itertools.product((True, False), repeat=2), 0)
        for level, k, r in itertools.product(range(4, 7), range(3), range(4)):
            one, height = error[level, k, r] - dense, barrier[level - 1, k, r]
            if not (one.isnan() or height.isnan()):
                expected[bool(one <= match), bool(height <= joined)] += 1
        counted = halves.count(halves.pairs(error, barrier).levels(4), match, joined)
        assert counted == tuple(expected.values()) and sum(counted) == 35
    mean = halves.pairs(error, barrier).mean()
    assert_close(mean.excess[2], error[3].mean(-1) - dense)
    assert sum(halves.count(mean)) == 16  # a mean over NaN is none
    assert halves.count(mean.at([2]).levels(1, 3)) == halves.count(
        halves.Pairs(mean.excess[:3, 2:], mean.barrier[:3, 2:])
    )


@pytest.mark.parametrize(
    ("counted", "verdict"),
    [
        ((19, 1, 3, 49), HOLDS),  # the authors' pilot figure
        ((17, 3, 3, 0), HOLDS), ((17, 3, 4, 9), PARTLY), ((17, 4, 0, 9), PARTLY), ((15, 5, 5, 0), PARTLY),
        ((15, 6, 0, 9), FAILS), ((15, 0, 6, 9), FAILS), ((1, 0, 0, 9), HOLDS),
        ((9, 0, 0, 0), UNTESTED),  # nothing could have failed
        ((0, 0, 0, 9), UNTESTED), ((0, 5, 0, 9), UNTESTED), ((0, 0, 5, 9), UNTESTED), ((0, 0, 0, 0), UNTESTED),
        ((0, 3, 3, 9), FAILS), ((9, 3, 0, 0), PARTLY),
    ],
)  # fmt: skip
def test_the_law_is_judged_by_its_worse_half(counted, verdict):
    assert halves.judge(Contingency(*counted)) == verdict


def test_both_halves_are_told_with_agreement_and_chance():
    said = halves.told(Contingency(19, 1, 3, 49))
    assert said == "*if* 19 of 20 (95 %), *only if* 19 of 22 (86 %); agreement 94 % of 72 pairs (59 % by chance)"
    assert halves.told(Contingency(0, 0, 0, 0)) == "no pair"
    assert halves.told(Contingency(0, 0, 0, 2)).startswith("*if* 0 of 0, *only if* 0 of 0; agreement 100 %")


def test_midway_is_the_middle_of_the_line():
    tickets, barriers = world()
    assert_close(halves.midway(tickets["error"], barriers["curve"]), barriers["height"])
    with pytest.raises(ValueError, match="curve has 2 points"):
        halves.midway(tickets["error"], barriers["curve"][:, :2])
    sagging = barriers["curve"] - 1
    assert not halves.midway(tickets["error"], sagging).any()


@pytest.mark.parametrize(
    ("change", "verdict", "counts"),
    [
        ({"start_matches": 3}, HOLDS, (4, 4, 4)),
        ({}, PARTLY, (4, 5, 4)),  # level 4 matches behind a barrier
        ({"start_matches": 5}, FAILS, (4, 6, 4)),
        ({"start_matches": 3, "sparsest": 0.0}, PARTLY, (4, 4, 5)),
        ({"start_matches": 8, "sparsest": NAN}, FAILS, (4, 9, 4)),
    ],
)
def test_if_and_only_if_is_judged_at_higher_sparsities(change, verdict, counts):
    row = findings.if_and_only_if(*world(**change))
    both, match, joined = counts
    assert row.verdict == verdict
    assert row.value == (
        f"*if*: {both} of {match} matching pairs are connected; *only if*: {both} of {joined} connected pairs match"
    )


def test_without_sparse_levels_there_is_no_verdict():
    tickets, barriers = world()
    short = {"error": tickets["error"][:4], "density": tickets["density"][:4], "rewind_step": STEPS}
    row = findings.if_and_only_if(short, {"height": barriers["height"][:3]})
    assert row.verdict == UNTESTED and row.value.startswith("*if*: 0 of 0 matching pairs")


def walk(back=(0.001, 0.02), error=0.021, walked=0.02, start=0.8):
    """A walk of four levels; the masks of levels 2 and 4 on k = 0 and 75, from which they come back within ``back``."""
    barrier = torch.stack([table(start, start), table(*back)], 1)
    return {
        "error": replicated(torch.full((5,), walked, dtype=torch.float64)), "density": 0.8 ** torch.arange(5).double(),
        "step": replicated(table(0.0, 0.0001, 0.0002, 0.0001)), "away": replicated(table(0.01, 0.1, 0.2, 0.4)),
        "return_error": replicated(torch.full((2, 2), error, dtype=torch.float64)),
        "return_barrier": replicated(barrier), "overlap": replicated(torch.full((2, 2), 0.7, dtype=torch.float64)),
        "level": torch.tensor([2, 4]), "rewind_step": STEPS,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"back": (0.001, 0.004)}, HOLDS),
        ({}, PARTLY),  # one level of two
        ({"back": (0.02, 0.02)}, FAILS),
        ({"back": (0.001, 0.004), "start": 0.001}, PARTLY),  # from the initialization too: not the rewind point's doing
        ({"back": (0.001, 0.004), "error": 0.03}, FAILS),  # back, but it does not match
        ({"walked": 0.04}, UNTESTED),  # the walk itself lost the way
        ({"back": (NAN, 0.001)}, UNTESTED),
    ],
)
def test_masks_that_lead_back_are_judged_by_their_rule(change, verdict):
    row = findings.mask_leads_back(walk(**change), world()[0], 75)
    tried = 0 if verdict == UNTESTED and "walked" in change else 2
    assert row.verdict == verdict and row.value.startswith(f"of the {tried} masks found without rewinding, ")


def test_how_many_masks_lead_back_is_said():
    said = findings.mask_leads_back(walk(), world()[0], 75).value
    assert said == "of the 2 masks found without rewinding, 1 leads back from k = 75, 0 from k = 0"
    assert findings.returns(walk())[3] == (
        "| 2 (64 %) | 75 | 2.00 ± 0.28 % | 2.10 ± 0.30 % | 0.1 ± 0.01 points | 2 of 2 | 70 ± 10 % |"
    )


def heights(*downs):
    """Barriers of five levels to each other: none to the dense one down to a level, for each rewind step."""
    made = torch.full((5, 5, len(downs), 3), 0.2, dtype=torch.float64)
    made[range(5), range(5)] = 0
    for i, level in enumerate(downs):
        made[0, : level + 1, i] = made[: level + 1, 0, i] = 0.004
    return {"height": made, "density": 0.8 ** torch.arange(5).double(), "rewind_step": torch.tensor([0, 25, 75])}


def test_recalibrated_pairs_stand_beside_the_same_networks():
    plain, anew = heights(0, 2, 4), heights(0, 3, 3)
    assert readings.connected_to_dense(plain["height"]).tolist() == [0, 2, 4]
    part = {**anew, "height": anew["height"][:, :, 1:, :2], "rewind_step": torch.tensor([25, 75])}
    here, there = readings.plain_and_recalibrated(plain, part)
    assert here.shape == there.shape == (5, 5, 2, 2)
    assert readings.connected_to_dense(here).tolist() == [2, 4]
    said = list(findings._distant(plain, part))
    assert said[1].startswith("From k = 25 the dense network is connected down to level 2 (64 %); to the last, 20.0")
    assert "down to level 2 with statistics interpolated, to level 3 with recalibrated ones" in said[3]
    drawing = maps.pairs(plain, part)
    assert "k = 75, interpolated: dense connected down to level 4, 0.4 points to the last" in drawing.alt
    assert "k = 75, recalibrated: dense connected down to level 3, 20.0 points to the last" in drawing.alt
    assert drawing.caption.startswith("With k = 75 ")
    assert drawing.caption.endswith("level 4 with statistics interpolated and level 3 with statistics recalibrated.")


def others():
    """Two networks beside the main one: the second has one rewind step and six levels."""
    error = torch.full((2, LEVELS + 1, 2, 2), 0.02, dtype=torch.float64)
    barrier = torch.full((2, LEVELS, 2, 2), 0.001, dtype=torch.float64)
    error[0, 6:] = 0.1
    error[1, 7:] = error[1, :, 1] = barrier[1, 6:] = barrier[1, :, 1] = torch.nan
    arms = [{"network": "cnn1d", "width": 64}, {"network": "resnet1d", "width": 16, "blocks": 2}]
    values = {
        "error": error, "barrier": barrier, "density": torch.ones(2, 9), "weights": torch.tensor([28096, 9968]),
        "rewind_step": torch.tensor([[25, 75], [75, -1]]),
    }  # fmt: skip
    return records.Record(values, {"settings": {"barriers.networks": arms}})


def contrast():
    tickets, barriers = world(sparsest=0.0)
    about = {"settings": {"contrast": {"network": "cnn1d"}}}
    return records.Record({**tickets, "barrier": barriers["height"], "rewind_step": torch.tensor([0, 300])}, about)


def test_each_network_has_its_own_dense_error_and_its_own_levels():
    by_network = readings.by_network(*world(), contrast(), others())
    counted = {name: halves.count(some) for name, some in by_network.items()}
    assert counted == {
        "residual 24": (4, 0, 0, 1),  # from k = 75, which another has too
        "plain 24": (4, 1, 1, 4),
        "plain 64": (4, 0, 6, 0),
        "residual 16, two blocks": (3, 0, 0, 0),
    }
    said = list(findings._networks(*world(), contrast(), others()))
    assert said[3].endswith("(100 % by chance); the law: no case to judge by.")
    assert said[-1] == (
        "The network residual 16, two blocks has 9968 weights, errs on 2.00 ± 0.00 % when dense, "
        "and was pruned to level 6."
    )
    drawing = figures.networks(by_network)
    assert "plain 64: if 4 of 4 (100 %), only if 4 of 10 (40 %)" in drawing.alt
    assert [text.get_text() for text in drawing.figure.axes[0].texts][4:6] == ["4 of 4", "4 of 10"]
    check_words("networks", drawing.figure)
    check_words("networks on a phone", drawing.small)


def test_the_law_is_counted_in_every_way():
    found = dict(findings.ways(*world(start_matches=3)))
    assert found["means over replicates, from level 4 on"] == (4, 0, 0, 6)
    assert found["single replicates, from level 4 on"] == (8, 0, 0, 12)
    assert found["means, levels 1 to 3"] == (3, 3, 0, 0) and found["means, levels 2 to 3"] == (2, 2, 0, 0)
    assert found["means, k = 0, from level 4 on"] == (0, 0, 0, 5)
    assert found["means, k = 75, from level 4 on"] == (4, 0, 0, 1)
    assert sum(" in place of " in name for name in found) == len(halves.TOLERANCES) - 1
    assert found["error midway, as the authors plot it"] == found["recalibrated statistics"] == (4, 0, 0, 6)
    told = findings.counts(*world(start_matches=3))
    assert len(told) == len(found) + 2
    assert told[2] == "| means over replicates, from level 4 on | 4 of 4 | 4 of 4 | 100 % | 52 % |"


def test_the_figures_of_the_law_say_its_counts():
    tickets, barriers = world()
    panes = figures.law(tickets, barriers)
    assert panes.default == "means over replicates"
    drawn = panes.drawings[panes.default]
    assert "if 4 of 5 (80 %), only if 4 of 4 (100 %)" in drawn.alt
    assert "4 of 5 matching pairs are connected, and 4 of 4 connected pairs match (means" in panes.caption
    assert "if 8 of 10 (80 %), only if 8 of 8 (100 %)" in panes.drawings["single replicates"].alt
    assert "8 of 8 connected pairs match (single replicates, half" in panes.drawings["single replicates"].caption
    assert "At levels 1 to 3, 12 of 12 match, 6 of these" in panes.drawings["single replicates"].alt
    left, right = drawn.figure.axes
    shown = torch.cat([torch.tensor(part.get_offsets().data) for part in left.collections])
    assert len(shown) == 2 * LEVELS
    faces = [len(part.get_facecolor()) for part in left.collections for _ in part.get_offsets()]
    assert sum(map(bool, faces)) == 2 * (LEVELS - 3), "only higher sparsities are filled"
    line = next(line for line in right.lines if line.get_label() == "if")
    assert line.get_ydata()[halves.TOLERANCES.index(0.005)] == 0.8
    level = figures.by_level(tickets, barriers)
    assert "k = 0 matches at level 1 to 4 and is connected at no level" in level.alt
    assert "k = 75 matches at level 1 to 7 and is connected at level 1 to 7." in level.alt
    assert "4 of 5 symbols of levels that match" in level.caption
    filled = [line for axes in level.figure.axes[:2] for line in axes.lines if line.get_label() == "matches"]
    assert [len(line.get_xdata()) for line in filled] == [4, 7]


def test_a_line_shows_how_far_the_error_rises():
    """Two replicates whose ends err on 2 and 4 %; the first rises to 10 % midway, the second is straight."""
    gamma = torch.linspace(0, 1, 3, dtype=torch.float64)
    curve = torch.stack([table(0.02, 0.02), table(0.1, 0.03), table(0.04, 0.04)])
    one = landscape.Barrier(table(0.07, 0.0), curve, gamma)
    drawing = figures.lines({0: one, 75: one}, (0, 40, 75))
    assert drawing.alt.endswith("rewound to step 75 the barrier is 7.0 points, 0.0 points in 2 replicates.")
    assert drawing.caption.endswith("3.5 points to level 1 from step 0 and 3.5 points to level 1 from step 75.")
    for axes, step in zip(drawing.figure.axes, (0, 75), strict=True):
        (rise,) = axes.collections[0].get_segments()
        assert_close(torch.tensor(rise), table([0.5, 0.03], [0.5, 0.1]))
        assert axes.lines[0].get_color() == style.look({"rewind_step": torch.tensor([0, 40, 75])}, step)[0]


def test_the_path_runs_from_the_dense_network_to_the_last_level():
    tickets, barriers = world()
    drawing = figures.path(barriers, (0, 75))
    for step, line in zip((0, 75), drawing.figure.axes[0].lines[1:], strict=True):
        column, error = (0, 75).index(step), line.get_ydata()
        assert line.get_color() == style.look(barriers, step)[0]
        assert_close(torch.tensor(error[::2]), tickets["error"][:, column].mean(-1))
        assert_close(torch.tensor(error[1::2]), barriers["curve"][:, 1, column].mean(-1))
    assert "down to level 4, the mean error reaches 72.0 % with k = 0" in drawing.caption


def test_the_figure_of_found_masks_says_how_far_they_are():
    drawing = figures.found_masks(walk(), world()[0])
    assert (
        "the barrier of a step is at most 0.02 points, from the dense network to the end of the walk 40.0 points"
        in (drawing.alt)
    )
    assert drawing.alt.endswith("k = 0 80.0, 80.0; k = 75 0.1, 2.0.")


def test_strips_show_the_error_inside_the_axial_subspace():
    """The subspace lies between two columns of the grid; along it the error rises with the distance."""
    away, along = torch.linspace(-0.5, 2, 4, dtype=torch.float64), torch.linspace(-1, 5, 5, dtype=torch.float64)
    error = 0.01 * along.clamp_min(0)[:, None, None] + 0.02 * away[None, :, None].expand(5, 4, 2)
    planes = {
        "error": error, "horizontal": away[:, None].expand(4, 2), "vertical": along[:, None].expand(5, 2),
        "corners": table([0, 0], [1.6, 0], [1.6, 4])[..., None].expand(3, 2, 2), "level": torch.tensor(8),
        "rewind_step": STEPS,
    }  # fmt: skip
    _, above, inside, _ = maps._plane(planes, 75)
    assert (above > 0).tolist() == [True, True, True, False]
    assert_close(inside, 0.01 * along.clamp_min(0) + 0.02 * 1.6)
    drawing = maps.strips(planes, (0, 75))
    assert "to the solution of level 9, inside the axial subspace, the error rises to 6.7 % with k = 0" in (
        drawing.caption
    )
    assert "pruning moves it by 1.6, the next solution is 4.0 from there" in drawing.alt
    check_words("strips", drawing.figure)
    check_words("strips on a phone", drawing.small)


def test_rules_of_our_own_questions():
    """A row of steps whose ends are apart; masks that miss; other networks."""
    joined = torch.zeros(5, 5, 2, 2, dtype=torch.float64)
    joined[0, 1, 0] = joined[1, 0, 0] = 0.2  # from 75 a bend, and from 0 a row of levels 1 to 4 only
    joined[0, 4, 1] = joined[4, 0, 1] = 0.02

    def judged(heights):
        return findings.successive_not_distant({"height": heights}, {"height": joined})

    assert readings.rows_of_steps(joined) == [[(1, 4)], [(0, 4)]] and readings.bends(joined) == [False, True]
    assert judged(joined).verdict == PARTLY
    assert judged(joined[..., 1:, :]).verdict == HOLDS
    assert judged(joined[..., :1, :]).verdict == FAILS
    near = joined.clone()
    near[0, 4, 1] = near[4, 0, 1] = 0.009  # above the tolerance, and not by more than it
    assert judged(near[..., 1:, :]).verdict == FAILS
    assert judged(joined + 1).verdict == UNTESTED
    assert judged(joined).value.endswith("at 1 of 2 rewind steps whose levels connect step by step; with recalibrated "
                                         "statistics at 1 of 2")  # fmt: skip
    arms = {"own": replicated(table(0.0, 0.001, 0.3)), "random": replicated(table(0.2, 0.3, 0.0))}
    for failing, verdict in (((0.1, 0.1, 0), HOLDS), ((0.001, 0.1, 0), PARTLY), ((0, 0, 0.1), FAILS)):
        row = findings.other_masks_miss({**arms, "failing": replicated(table(*failing))})
        assert row.verdict == verdict and row.value.startswith("of 2 levels at which the own mask leads back")
    assert findings.other_masks_miss({**arms, "own": arms["random"] + 1, "failing": arms["own"]}).verdict == UNTESTED
    good, bad, none = (
        halves.Pairs(table(*excess), table(*barrier))
        for excess, barrier in (((0, 0.1), (0, 0.1)), ((0, 0.1), (0, 0)), ((0, 0), (0, 0)))
    )
    for others, verdict in (
        ((good,), HOLDS), ((good, bad), PARTLY), ((bad,), FAILS), ((none,), UNTESTED), ((good, none), HOLDS)
    ):  # fmt: skip
        named = {"main": bad} | {f"net {n}": some for n, some in enumerate(others)}
        assert findings.other_networks(named).verdict == verdict
    assert findings.other_networks({"main": bad, "a": good, "b": bad}).value == "holds: a; does not hold: b"


def test_settings_that_the_prose_names():
    book = PRESETS["book"]
    assert (book.tickets.points, book.barriers.pair_points, book.tickets.control_step) == (15, 5, 75)
    assert book.tickets.control_levels[1] == book.barriers.walk.return_levels[0] == 4
    assert (book.barriers.walk.steps, book.barriers.walk.return_levels) == (400, (4, 6, 8))
    assert (halves.EPSILON, halves.HIGHER, halves.SHARE) == (0.005, 4, 0.85)


def test_words_of_the_findings_are_whole_and_apart():
    tickets, barriers = world()
    plain, anew = heights(0, 2, 4), heights(0, 3, 3)
    panes = figures.law(tickets, barriers).drawings
    for drawing in (
        *panes.values(), figures.by_level(tickets, barriers), figures.path(barriers, (0, 75)),
        figures.found_masks(walk(), tickets), maps.pairs(plain, {**anew, "height": anew["height"][..., :1]}),
    ):  # fmt: skip
        check_words(drawing.alt, drawing.figure)
        assert drawing.alt.endswith(".") and "nan" not in drawing.alt
