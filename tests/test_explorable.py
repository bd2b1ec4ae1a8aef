"""The landscape to play with: what it shows, and that page and picture show the same."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lotterybook import build, explorable

STATIC = build.ROOT / "_static"
STEPS = range(explorable.LATEST + 1)


@pytest.fixture(scope="module")
def trips():
    """The journey from every rewind step."""
    return [explorable.rewind(step) for step in STEPS]


def run(expression):
    """The value of an expression in JavaScript after landscape.js, by the Node.js that comes with Playwright."""
    import playwright

    node = Path(playwright.__file__).with_name("driver") / "node"
    code = f"{(STATIC / 'landscape.js').read_text(encoding='utf-8')}\nconsole.log(JSON.stringify({expression}))"
    return json.loads(subprocess.run([node, "-e", code], capture_output=True, text=True, check=True, timeout=60).stdout)


def test_the_page_trains_as_python_does(trips):
    theirs = run("Array.from({length: toy.LATEST + 1}, (_, step) => toy.rewind(step))")
    assert len(theirs) == len(trips)
    for ours, other in zip(trips, theirs, strict=True):
        assert ours["wins"] == other["wins"]
        for name in ("dense", "again", "profile", "barrier"):
            np.testing.assert_allclose(other[name], ours[name], rtol=0, atol=1e-9)


def test_the_page_has_the_same_landscape():
    points = np.random.default_rng(0).uniform(-3, 3, (50, 2))
    errors, slopes, box = run(f"[{points.tolist()}.map(toy.error), {points.tolist()}.map(toy.gradient), toy.BOX]")
    np.testing.assert_allclose(errors, explorable.error(points), rtol=0, atol=1e-12)
    np.testing.assert_allclose(slopes, [explorable.gradient(point) for point in points], rtol=0, atol=1e-12)
    assert tuple(box) == explorable.BOX


def test_gradient_is_that_of_the_error():
    tiny = 1e-6
    for point in np.random.default_rng(1).uniform(-2, 2, (20, 2)):
        slope = [(explorable.error(point + d) - explorable.error(point - d)) / (2 * tiny) for d in tiny * np.eye(2)]
        np.testing.assert_allclose(explorable.gradient(point), slope, atol=1e-8)


def test_an_error_is_a_rate_everywhere_on_the_map():
    left, right, bottom, top = explorable.BOX
    grid = np.stack(np.meshgrid(np.linspace(left, right, 80), np.linspace(bottom, top, 80)), -1)
    errors = explorable.error(grid)
    assert 0 < errors.min() < 0.06 and errors.max() < explorable.TOP


def test_magnitude_pruning_removes_the_weight_that_the_drawing_removes(trips):
    w1, w2 = trips[0]["dense"][-1]
    assert abs(w2) < abs(w1)


def test_early_rewinding_fails_and_late_rewinding_wins(trips):
    """One border between them; what fails is in the other valley, as the texts say: worse, and behind a barrier."""
    wins = [trip["wins"] for trip in trips]
    assert wins == sorted(wins) and not wins[explorable.EARLY] and wins[explorable.LATE]
    for trip in trips:
        assert (trip["again"][:, 1] == 0).all()
        assert (trip["again"][-1, 0] > 0) == trip["wins"]
        if not trip["wins"]:
            assert trip["profile"][-1] > trip["profile"][0] + 0.1 and trip["barrier"] > 0.1
        else:
            assert trip["barrier"] < 0.001


def test_without_pruning_training_is_repeated(trips):
    dense = trips[0]["dense"]
    np.testing.assert_allclose(explorable.train(explorable.START, 0, (1, 1)), dense)
    assert len(dense) == explorable.STEPS + 1


def test_the_picture_says_that_it_is_drawn():
    text = build.page("![old](images/landscape.png)", {}, "", "", "main")
    assert text == f"![{explorable.alt()}](images/landscape.png)" and "Drawn, not measured" in text
    assert "fails, behind a barrier of 61 points" in text and text in (build.ROOT / "intro.md").read_text()


def test_the_scripts_are_small():
    assert sum((STATIC / name).stat().st_size for name in ("landscape.js", "explorable.js")) < 15_000
