"""Figures: panes behind a control, words that can be read, alternative texts that hold the numbers of the records."""

import inspect
import json
import re
from itertools import combinations, pairwise
from pathlib import Path

import ipywidgets
import matplotlib
import numpy as np
import pytest
import torch
from colorspacious import cspace_convert, deltaE
from ipywidgets.widgets.widget_link import Link
from matplotlib.colors import to_rgb

from lotterybook import experiment, overview, style, verdicts
from lotterybook import narrow as narrow_module
from lotterybook.barriers import figures as barriers_figures
from lotterybook.barriers import maps as barriers_maps
from lotterybook.barriers import readings
from lotterybook.diet import figures as diet_figures
from lotterybook.diet import maps as diet_maps
from lotterybook.experiment import recorded
from lotterybook.limits import figures as limits_figures
from lotterybook.limits import subspaces as limits_subspaces
from lotterybook.narrow import narrow
from lotterybook.panes import BUTTONS, Panes
from lotterybook.retraining import figures as retraining_figures
from lotterybook.robustness import figures as robustness_figures
from lotterybook.scale import figures as scale_figures
from lotterybook.scale import findings as scale
from lotterybook.scale.experiments import NEEDED
from lotterybook.synthesis import figures as synthesis_figures
from lotterybook.synthesis import findings as synthesis
from lotterybook.tickets import figures as tickets_figures
from lotterylib import landscape
from lotterylib.landscape import Barrier

ROOT = Path(__file__).resolve().parent.parent


def drawings(count):
    """So many empty figures by name, with a text that HTML must escape."""
    return {f"{n}": style.Drawing(style.canvas(height=1)[0], f'{n}: "3 < 4"') for n in range(count)}


def shown(panes):
    """The widget that a notebook shows."""
    bundle, _ = panes._repr_mimebundle_()
    return ipywidgets.Widget.widgets[bundle["application/vnd.jupyter.widget-view+json"]["model_id"]]


@pytest.mark.parametrize(
    ("count", "kind"), [(BUTTONS, ipywidgets.ToggleButtons), (BUTTONS + 1, ipywidgets.SelectionSlider)]
)
def test_panes_are_pictures_behind_a_control(count, kind):
    some = drawings(count)
    panes = Panes("level", some, "1")
    control, stack = shown(panes).children
    assert type(control) is kind and control.description == "level"
    assert control.options == tuple(some) and control.index == stack.selected_index == 1
    for name, pane in zip(some, stack.children, strict=True):
        assert f'class="drawing" alt="{name}: &quot;3 &lt; 4&quot;"' in pane.value
    (link,) = (
        widget for widget in ipywidgets.Widget.widgets.values()
        if isinstance(widget, Link) and widget.source[0] is control
    )  # fmt: skip
    assert (link.source[1], link.target) == ("index", (stack, "selected_index"))


def test_panes_show_the_default_where_there_are_no_widgets():
    some = drawings(2)
    bundle, about = Panes("level", some, "1")._repr_mimebundle_()
    assert bundle["image/png"] == some["1"].png() and about["image/png"]["alt"] == '1: "3 < 4"'


def test_old_widgets_show_all_panes(monkeypatch):
    monkeypatch.delattr(ipywidgets, "Stack")
    monkeypatch.delattr(ipywidgets.Widget, "_repr_mimebundle_")
    assert len(shown(Panes("level", drawings(3), "1")).children) == 3


def test_only_a_figure_with_a_colour_bar_is_a_map():
    figure, axes = style.canvas()
    axes.plot([1, 2])
    style.counts(axes, torch.tensor([[1, 2]]), 2)
    assert style.Drawing(figure, "")._repr_mimebundle_()[1]["image/png"]["class"] == "drawing"
    figure.colorbar(matplotlib.cm.ScalarMappable(), ax=axes)
    assert style.Drawing(figure, "")._repr_mimebundle_()[1]["image/png"]["class"] == "drawing map"


def figures_of_the_book():
    """The figures that chapters draw from records, by name."""
    record = {name: recorded(name, "book") for name in experiment.experiments_of("book")}
    tickets, barriers, spectra, robust = (
        record[name] for name in ("winning_tickets", "successive_barriers", "spectra", "robustness")
    )
    setup = experiment.setup("book")
    run = setup.run().at(75)
    bowl = torch.logspace(-3, 1, 50, dtype=torch.float64)
    yield "overview", overview.ticket(tickets, barriers, 0, 75)
    yield "synthesis", synthesis_figures.picture(synthesis.story("book"), 75)
    yield "examples", tickets_figures.examples(setup.ds)
    yield "loop", tickets_figures.loop()
    yield "errors", tickets_figures.errors(tickets)
    yield "masks", tickets_figures.masks(run)
    yield "controls", tickets_figures.controls(tickets, record["controls"], record["fresh_starts"])
    yield "instability", tickets_figures.instability(record["instability"])
    yield "contrast", tickets_figures.contrast(record["contrast"], tickets, record["instability"])
    first = barriers["curve"][0].flip(0)  # of the line from the dense network to level 1
    gamma = torch.linspace(0, 1, len(first), dtype=torch.float64)
    two = {k: landscape.Barrier(barriers["height"][0, i, :2], first[:, i, :2], gamma) for i, k in ((0, 0), (4, 75))}
    yield "lines", barriers_figures.lines(two, barriers["rewind_step"].tolist())
    yield "by level", barriers_figures.by_level(tickets, barriers)
    yield "law", barriers_figures.law(tickets, barriers)
    yield "path", barriers_figures.path(barriers, (0, 75))
    yield "pairs", barriers_maps.pairs(record["all_pairs"], record["recalibrated_pairs"])
    yield "strips", barriers_maps.strips(record["plane"], (0, 75))
    yield "found masks", barriers_figures.found_masks(record["found_masks"], tickets)
    yield "failing masks", barriers_figures.failing_masks(record["failing_masks"], tickets)
    others = readings.by_network(tickets, barriers, record["contrast"], record["architectures"])
    yield "networks", barriers_figures.networks(others)
    yield "blow", robustness_figures.blow(record["blows"], tickets, 75)
    line = Barrier(torch.tensor([0.0, 0.1]), torch.full((5, 2), 0.02), torch.linspace(0, 1, 5))
    yield "lines back", robustness_figures.lines_back({1.0: line})
    yield "back", robustness_figures.back(robust)
    yield "critical", robustness_figures.critical(robust)
    yield "who returns", robustness_figures.who_returns(robust, tickets, barriers)
    yield "kinds", robustness_figures.kinds(robust)
    yield "forgiveness", robustness_figures.forgiveness(record["forgiveness"])
    yield "apart", robustness_figures.apart(record["return_path"])
    yield "planes", robustness_figures.planes(record["return_plane"])
    yield "well", limits_subspaces.well(bowl, 0.02, {2.0: torch.rand(9, dtype=torch.float64)}, 2.0)
    yield "crossing", limits_figures.crossing(bowl, torch.full_like(bowl, 1 / 50), torch.linspace(-1, 1, 900), 0.02)
    yield "spectra", limits_figures.spectra(spectra)
    yield "convergence", limits_figures.convergence(record["convergence"], 1500)
    yield "over wells", limits_figures.over_wells(spectra, record["descents"], 75)
    yield "loss and mode", limits_figures.loss_and_mode(record["descents"], 75)
    yield "flatter", limits_figures.flatter(spectra, record["overlap"], 75)
    yield "one-shot", limits_figures.one_shot(tickets, record["controls"], spectra)
    yield "adaptive", limits_figures.adaptive(tickets, record["adaptive"], 75)
    yield "histogram", retraining_figures.histogram(record["histograms"], setup.run().at(75), 4)
    shares = torch.rand(3, 2, dtype=torch.float64) / 5
    yield "course", retraining_figures.along({"weight rewinding (IMP)": ([0, 700, 1425], shares)}, 0.2)
    yield "new small", retraining_figures.new_small(record["refilling"], tickets, (0, 25, 75))
    yield "removed", retraining_figures.removed(record["refilling"], (0, 25, 75))
    yield "arms", retraining_figures.arms(record["without_retraining"], tickets)
    yield "ways", retraining_figures.barriers(record["without_retraining"], tickets)
    yield "cycles", retraining_figures.cycles(record["cycles"], record["without_retraining"])
    yield "signs", retraining_figures.signs(record["refilling"], tickets)
    scores, early, pruned, fed = (record[name] for name in ("scores", "early_data", "pruned_data", "both"))
    yield "scored", diet_figures.examples(setup.ds, scores)
    yield "ranking", diet_figures.ranking(scores)
    yield "noise", diet_figures.noise(scores)
    yield "starts", diet_figures.starts(early, 75)
    yield "cost", diet_figures.cost(early, 75)
    yield "sizes", diet_figures.sizes(pruned)
    yield "both", diet_maps.both(fed)
    yield "valley", diet_figures.valley(fed, record["landscape_of_data"])
    yield from figures_of_scale(tickets, barriers, record["instability"])


def figures_of_scale(tickets, barriers, unstable):
    """The figures of chapter 7, by name: the testbed beside networks on pictures."""
    block = scale.block()
    ours, known = (block["winning_tickets"], block["successive_barriers"]), scale.published()
    *pictures, rough = (recorded(name, "medium") for name in NEEDED)
    some = {scale.TESTBED: (tickets, barriers), scale.MIDDLE: pictures, scale.BLOCK: ours}
    scales, clocks = {**some, scale.NOTEBOOKS: known}, dict(zip(some, (1500, 2000, 5850), strict=True))
    heights = dict(zip(some, (unstable, rough, block["instability"]), strict=True))
    yield "scales' errors", scale_figures.errors(scales)
    yield "scales' law", scale_figures.law(*ours, "ResNet-20")
    yield "scales side by side", scale_figures.side_by_side(scales)
    yield "scales' replicates", scale_figures.replicates(*ours, block.about["seeds"])
    yield "scales' instability", scale_figures.instability(heights, clocks)
    yield "speeds", scale_figures.speeds()
    yield "bills", scale_figures.bills()


def words(figure):
    """The labels, titles and legends around the axes of a figure, each with its bounding box in pixels."""
    figure.draw_without_rendering()
    around = [axis.label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    around += [axes.title for axes in figure.axes] + figure.legends + list(figure.texts)
    return [(artist, artist.get_window_extent()) for artist in around if getattr(artist, "get_text", lambda: "-")()]


@pytest.fixture(scope="module")
def drawn():
    """All drawings of the book, panes too: ``(name, drawing)``."""
    figures = dict(figures_of_the_book())
    panes = {name: figure.drawings if isinstance(figure, Panes) else {"": figure} for name, figure in figures.items()}
    return [(f"{name} {label}", drawing) for name, several in panes.items() for label, drawing in several.items()]


def test_figures_of_the_book_are_all_there():
    """What chapters call ``figures``, ``maps`` or ``subspaces`` for is among them."""
    called = set()
    for path in (ROOT / "chapters").glob("*.ipynb"):
        code = "".join(line for cell in json.loads(path.read_text())["cells"] for line in cell["source"])
        (room,) = re.findall(r"^from lotterybook\.(\w+) import .*\bfigures\b", code, re.MULTILINE)
        drawn = re.findall(r"\b(figures|maps|subspaces)\.(\w+)\(", code)
        called |= {f"{room}_{module}.{name}" for module, name in drawn}
    source = inspect.getsource(figures_of_the_book) + inspect.getsource(figures_of_scale)
    made = set(re.findall(r"yield .*?, (\w+\.\w+)\(", source))
    assert len(called) > 40 and called <= made, called - made


def check_words(name, figure):
    """Words lie inside the figure, and not over each other."""
    found = words(figure)
    for artist, box in found:
        assert figure.bbox.x0 - 1 <= box.x0 and box.x1 <= figure.bbox.x1 + 1, (name, artist, box)
        assert figure.bbox.y0 - 1 <= box.y0 and box.y1 <= figure.bbox.y1 + 1, (name, artist, box)
    for (one, box), (other, place) in combinations(found, 2):
        assert not box.padded(-1).overlaps(place), (name, one, other)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            ticks = [
                label.get_window_extent() for label in axis.get_ticklabels() if label.get_visible() and label.get_text()
            ]
            for box, place in pairwise(ticks):
                assert not box.padded(-1).overlaps(place), (name, axis)


def test_words_of_figures_are_whole_and_apart(drawn):
    for name, drawing in drawn:
        check_words(name, drawing.figure)


def first_of_each(drawn):
    """One drawing of each figure: its panes are alike."""
    return {name.split(" ")[0] + drawing.alt[:20]: (name, drawing) for name, drawing in reversed(drawn)}.values()


def test_words_of_narrow_figures_are_whole_and_apart(drawn):
    for name, drawing in first_of_each(drawn):
        small = drawing.small or narrow(drawing.figure)
        check_words(f"{name} on a phone", small)
        assert small.get_figwidth() == narrow_module.WIDTH and small.get_figheight() < 16, name


def test_every_figure_has_its_numbers(drawn):
    for name, drawing in drawn:
        head, *rows = drawing.csv().splitlines()
        assert rows and not re.search(r"\b(nan|inf)\b", "".join(rows)), name
        assert re.search(r"\b(y|value)\b", head), name


def test_descriptions_are_sentences_with_numbers_and_differ(drawn):
    texts = [drawing.alt for _, drawing in drawn]
    assert len(set(texts)) == len(texts)
    for (name, _), text in zip(drawn, texts, strict=True):
        assert text[0].isupper() or text[0].isdigit(), name
        assert text.endswith(".") and re.search(r"\d", text), (name, text)
        assert not re.search(r"\b(nan|inf|None)\b", text), (name, text)


# What `_static/figures.css` makes of a colour in the dark theme: inverted, its hue turned back, on the page's own dark.
PAGE = np.array([0x12, 0x12, 0x12]) / 255
HUE = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])  # W3C, Filter Effects, 180 degrees
THEMES = {
    "light": lambda colour: colour,
    "dark": lambda colour: 1 - (1 - np.clip(HUE @ (1 - colour), 0, 1)) * (1 - PAGE),
}


def contrast(one, other):
    """The ratio that WCAG 2 asks for: 3 for what must be seen in a figure."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    dark, light = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_colours_are_seen_and_told_apart(theme):
    """By the colour-blind too, as far as colorspacious knows how they see; 10 is a clear difference in its units."""
    names = ("BLUE", "ORANGE", "GREEN", "BROWN", "PINK", "GREY")
    colours = {name: THEMES[theme](np.array(to_rgb(getattr(style, name)))) for name in names}
    page = THEMES[theme](np.ones(3))
    shades = [THEMES[theme](np.array(shade[:3])) for shade in style.shades(4)]
    assert min(contrast(colour, page) for colour in [*colours.values(), *shades]) > 3
    for kind in ("protanomaly", "deuteranomaly", "tritanomaly"):
        seen = {"name": "sRGB1+CVD", "cvd_type": kind, "severity": 100}
        views = {name: np.clip(cspace_convert(colour, seen, "sRGB1"), 0, 1) for name, colour in colours.items()}
        for one, other in combinations(names, 2):
            assert deltaE(views[one], views[other], input_space="sRGB1") > 15, (kind, one, other)
        assert min(deltaE(*pair, input_space="sRGB1") for pair in pairwise(shades)) > 10


def test_masks_say_what_is_pruned_next():
    run = experiment.setup("book").run().at(75)
    panes = tickets_figures.masks(run)
    assert list(panes.drawings) == [str(level) for level in range(len(run) - 1)]
    here, after = run[3], run[4]
    weights = torch.cat([here.state[name][0][keep[0]] for name, keep in here.mask.items()]).abs().sort().values
    kept, gone = (sum(int(keep[0].sum()) for keep in level.mask.values()) for level in (after, here))
    alt = panes.drawings["3"].alt
    assert alt.startswith(f"{gone} weights") and f"The {gone - kept} that are pruned next" in alt
    assert f"within {weights[gone - kept - 1]:.2f} of zero" in alt
    assert f"larger than {weights[gone - kept :].median():.2f}." in alt


def small(*barriers):
    """Records of three levels, two rewind steps, two replicates; the dense error is 10 ± 1.4 %."""
    error = torch.tensor([0.09, 0.11], dtype=torch.float64).repeat(4, 2, 1)
    error[1:, 0] += 0.05
    axes = {"density": torch.tensor([1, 0.8, 0.6, 0.5]), "rewind_step": torch.tensor([0, 100])}
    height = torch.tensor(barriers, dtype=torch.float64)[..., None].expand(-1, -1, 2)
    return {"error": error, **axes}, {"height": height, "recalibrated": height / 2, "barrier": height, **axes}


def test_a_rewind_step_that_never_matches_is_said_to_never_match():
    tickets, barriers = small([0.3, 0.01], [0.2, 0.05], [0.3, 0.0])
    apart = overview.ticket(tickets, barriers, 0, 100).alt
    assert "it never matches, and the mean barrier between successive levels is 20.00 points to 30.00 points" in apart
    assert "down to 50 % of the weights" in apart and apart.endswith(" is 0.00 points to 5.00 points.")


def test_instability_that_rises_is_not_said_to_fall():
    record = {"rewind_step": torch.tensor([0, 10]), "height": torch.tensor([[0.3, 0.5], [0.1, 0.1]])}
    assert "falls with k: 40.0 at k = 0, 10.0 at k = 10" in tickets_figures.instability(record).alt
    assert "falls" not in tickets_figures.instability({**record, "height": record["height"].flip(0)}).alt


def test_histograms_of_magnitudes_have_a_pane_a_level():
    record, run = recorded("histograms", "book"), experiment.setup("book").run().at(75)
    panes = retraining_figures.histogram(record, run, 4)
    assert len(panes.drawings) == len(record["all"]) == len(run) - 1 and panes.default == "4"
    share = recorded("refilling", "book")["refilled"][3, 4].mean()  # of the solution of level 4, at step 75
    assert f"after retraining {100 * share:.1f} % of the weights are as small as that" in panes.drawings["3"].alt


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_figures_of_chapter_5_say_what_they_show():
    refill, less = recorded("refilling", "book"), recorded("without_retraining", "book")
    tickets = recorded("winning_tickets", "book")
    assert f"k = 0 {100 * refill['already'][:, 0].mean():.0f}" in (
        retraining_figures.new_small(refill, tickets, (0, 75)).alt
    )
    assert f"k = 0 {100 * refill['removed'][:, 0].mean():.0f}" in retraining_figures.removed(refill, (0, 75)).alt
    assert f"k = 0 {100 * refill['signs'][:, 0].mean():.0f}" in retraining_figures.signs(refill, tickets).alt
    highest = verdicts.points(less["short_barrier"].mean(-1).max())
    assert f"{highest} at all levels" in retraining_figures.barriers(less, tickets).alt
