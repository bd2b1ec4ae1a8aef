"""Figures of chapter 4 say what they show, whatever the records say."""

import pytest
import torch
from test_limits_findings import records, shots, table

from lotterybook.limits import figures, readings, subspaces
from lotterybook.limits.readings import RANDOM
from lotterylib import limits


def test_where_the_lines_cross_is_what_the_library_says():
    values = torch.logspace(-3, 1, 40, dtype=torch.float64)
    weights = torch.linspace(-2, 2, 400)
    drawn = figures.crossing(values, torch.full_like(values, 1 / 40), weights, 0.02)
    marks = [line.get_xdata()[0] for line in drawn.figure.axes[0].lines if len(line.get_xdata()) == 1]
    shares, orders = torch.full_like(values, 1 / 40), ("random", "magnitude")
    assert marks == pytest.approx([limits.gordon_fraction(values, weights, 0.02, shares, order) for order in orders])
    diagonal, *curves = [line for line in drawn.figure.axes[0].lines if len(line.get_xdata()) > 1]
    for mark, line in zip(marks, curves, strict=True):  # and there the closed form equals the fraction
        x, y = (torch.as_tensor(part) for part in line.get_data())
        assert abs(float(y[(x - mark).abs().argmin()]) - mark) < 0.02
    assert f"{100 * marks[0]:.0f} % at random and {100 * marks[1]:.0f} % by magnitude" in drawn.caption


def test_captions_follow_the_records():
    spectra, descents = records(gap=0.1, beyond=0.05)
    caption = figures.over_wells(spectra, descents, 75).caption
    assert (
        caption == "Pruned at random, predicted and measured differ by 10 points at level 0 and 10 points at level 8."
    )
    panes = figures.loss_and_mode(descents, 75)
    assert panes.default == "0" and set(panes.drawings) == {"0", "8"}
    assert "within 0.02 nats up to 30 %" in panes.caption
    mode = 100 * float(readings.by_mode(descents, RANDOM)[0].mean())
    assert f"its own valley up to {mode:.0f} %" in panes.caption
    assert panes.drawings["8"].alt.startswith("The network of level 8 after descents")


def test_a_curvature_is_said_beside_the_other():
    spectra, _ = records()
    overlap = {
        "kept": table([[0.9, 0.5], [0.5, 0.1]])[..., None, None].expand(1, 2, 2, 3, 2), "fraction": table(0.2, 0.8),
        "level": torch.tensor([0]),
    }  # fmt: skip
    drawn = figures.flatter(spectra, overlap, 75)
    assert drawn.caption.startswith("In 4 of 4 networks") and "is 50 % of the other" in drawn.caption
    assert "top 3 eigenvectors" in drawn.alt and "level 0, by magnitude: 90, 50" in drawn.alt


@pytest.mark.parametrize(("good", "said"), [((True, False), "50 %"), ((False, False), "none")])
def test_one_shot_pruning_is_drawn_beside_its_limit(good, said):
    drawn = figures.one_shot(*shots(good), records()[0])
    assert f"matches: {said}. The spectrum" in drawn.caption and "40 % must be left" in drawn.caption
    lines = drawn.figure.axes[0].lines
    assert any(list(line.get_xdata()) == pytest.approx([0.4, 0.4]) for line in lines if len(line.get_xdata()) == 2)


def test_convergence_names_the_lengths_that_it_compares():
    loss = table([0.5, 0.9], [0.3, 0.5], [0.02, 0.1], [0.02, 0.09])[:, None, :, None].expand(4, 2, 2, 2)
    record = {
        "loss": loss.expand(2, -1, -1, -1, -1), "control": torch.full((2, 4, 2), 0.01),
        "solution": torch.full((2, 2), 0.01).double(), "fraction": table(0.6, 0.8), "level": torch.tensor([0, 8]),
        "steps": torch.tensor([100, 200, 1500, 3000]),
    }  # fmt: skip
    drawn = figures.convergence(record, 1500)
    reached = [100 * float(found) for found in readings.by_length(readings.of_level(record, 0), RANDOM)[1:, 0]]
    assert list(drawn.drawings) == ["0", "8"] and drawn.drawings["8"].caption.startswith("At level 8, descents")
    assert drawn.caption == (
        "At level 0, descents of 200 steps reach the well of 0.02 nats after a random pruning of up to "
        f"{reached[0]:.0f} %, those of 1,500 steps up to {reached[1]:.0f} %, of 3,000 up to {reached[2]:.0f} %."
    )


def test_a_threshold_says_how_much_it_takes_first():
    tickets, _ = shots((True, False))
    record = {
        "density": table([1, 0.6, 0.5], [1, 0.9, 0.85]), "error": torch.full((2, 3, 2), 0.02).double(),
        "rise": table(0.1, 0.005),
    }  # fmt: skip
    drawn = figures.adaptive(tickets, record, 75)
    assert drawn.caption == (
        "Instead of 20 %, the first pruning takes 10 % of the weights with a threshold of 0.005 nats, 40 % with one of "
        "0.1."
    )


def test_a_well_opens_at_the_distance_asked_for():
    shares = torch.tensor([0.2, 0.4, 0.3], dtype=torch.float64)
    bowl = torch.logspace(-2, 1, 50, dtype=torch.float64)
    panes = subspaces.well(bowl, 0.1, {1.0: shares, 8.0: shares}, 8.0)
    assert panes.default == "8" and "up to 30 %" in panes.drawings["1"].alt
    hits = [subspaces._hits(bowl, 0.1, distance) for distance in (1.0, 8.0)]
    assert hits[0] > hits[1] and f"{hits[1]} of 40 random lines" in panes.caption
    long, short = subspaces._random_lines(bowl, 0.1, 2.0)[0]
    grid = torch.linspace(0, 2 * torch.pi, 400)
    for (x, y), (u, v), meets in subspaces._random_lines(bowl, 0.1, 2.0)[1]:  # some point of the ellipse on either side
        side = (long * grid.cos() - x) * v - (short * grid.sin() - y) * u
        assert meets == bool(side.min() < 0 < side.max()) or abs(float(side.abs().min())) < 0.01
