"""The last chapter's picture and the landing page's numbers: what they take from which record."""

import torch
from torch.testing import assert_close

from lotterybook import claims
from lotterybook.synthesis import figures, findings

DENSITY = torch.tensor([1.0, 0.8, 0.64, 0.512], dtype=torch.float64)
STEPS = torch.tensor([0, 10, 20])  # those of the preset smoke, whose controls are at step 10


def records():
    """Three prunings, three rewind steps, two replicates; from step 10 levels 1 and 2 match, from step 0 level 1."""
    axes = {"density": DENSITY, "rewind_step": STEPS}
    error = torch.full((4, 3, 2), 0.02, dtype=torch.float64)
    error[2:, 0] = error[3:, 1] = 0.05
    error[2, 1] = torch.tensor([0.021, 0.023])
    height = torch.zeros(3, 3, 2, dtype=torch.float64)
    height[:, 0] = torch.tensor([0.6, 0.8])
    height[:, 1] = torch.tensor([[0.001, 0.002], [0.003, 0.004], [0.5, 0.5]])
    moved = {"distance": torch.full((3, 3, 2), 3.0), "norm": torch.full((4, 3, 2), 10.0)}
    refilled = torch.tensor([0.1, 0.18, 0.3])[:, None, None].expand(3, 3, 2)
    predicted = torch.arange(2 * 3 * 2 * 3 * 2, dtype=torch.float64).view(2, 3, 2, 3, 2) / 100
    return {
        "winning_tickets": {"error": error, **axes}, "successive_barriers": {"height": height, **axes},
        "blows": {**moved, **axes}, "refilling": {"refilled": refilled, "fraction": torch.tensor(0.2), **axes},
        "spectra": {"predicted": predicted, "epsilon": torch.tensor([0.005, 0.02, 0.1]), "rewind_step": STEPS},
    }  # fmt: skip


def told(monkeypatch):
    for name, record in records().items():
        monkeypatch.setattr(findings, name, lambda *_, record=record: record)
    return findings.story("smoke")


def test_the_story_is_told_of_the_levels_that_match(monkeypatch):
    """Down to level 2, 64 %: both barriers before it, not that of the level that fails; all barriers of step 0."""
    story = told(monkeypatch)
    assert story["density"] == 0.64
    assert_close(story["error"], torch.tensor([0.021, 0.023]).double())
    assert_close(story["barrier"], torch.tensor([0.002, 0.003]).double())
    assert_close(story["failing"], torch.tensor([0.6, 0.8]).double())
    assert_close(story["blow"], torch.tensor([0.3, 0.3]))
    assert_close(story["new_small"], torch.tensor([0.7, 0.7]))  # of a fifth, half and nine tenths
    assert_close(story["at_once"], records()["spectra"]["predicted"][0, 1, 1, 0])


def test_numbers_of_the_landing_page_are_written(monkeypatch):
    told(monkeypatch)
    numbers = findings.numbers("smoke")
    assert numbers["ticket kept"] == "64 %" and numbers["barrier winning"] == "0.25 points"
    assert numbers["barrier failing"] == "70 points" and numbers["first matches"] == "80 %"


def test_the_picture_holds_the_numbers(monkeypatch):
    drawing = figures.picture(told(monkeypatch), 10)
    written = "".join(text.get_text() for axes in drawing.figure.axes for text in axes.texts)
    for number in ("70 points", "0.25 points", "30 %", "70 %"):
        assert number in written and number in drawing.alt
    assert "step 10" in drawing.caption and drawing.caption.endswith(".")


def test_no_two_rooms_give_one_number_two_meanings():
    """Where the rooms' numbers are put together, the later would win."""
    rooms = [room.numbers("book") for room in (*claims.ROOMS.values(), claims.scale, claims.synthesis)]
    names = [name for room in rooms for name in room]
    assert len(set(names)) == len(names)
