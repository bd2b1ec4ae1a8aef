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
from lotterybook.barriers import agreement
from lotterybook.barriers import figures as barriers_figures
from lotterybook.experiment import recorded
from lotterybook.limits import figures as limits_figures
from lotterybook.limits import subspaces
from lotterybook.narrow import narrow
from lotterybook.panes import BUTTONS, Panes
from lotterybook.retraining import figures as retraining_figures
from lotterybook.robustness import figures as robustness_figures
from lotterybook.robustness import findings as robustness
from lotterybook.scale import experiments as scale
from lotterybook.scale import figures as scale_figures
from lotterybook.tickets import figures as tickets_figures

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
    setup, medium = experiment.setup("book"), recorded("winning_tickets", "medium")
    run, prunable = setup.run().at(100), setup.net().prunable
    bowl = torch.logspace(-3, 1, 50, dtype=torch.float64)
    yield "overview", overview.ticket(tickets, barriers, 0, 100)
    yield "examples", tickets_figures.examples(setup.ds)
    yield "errors", tickets_figures.errors(tickets)
    yield "matching", tickets_figures.matching(tickets)
    yield "masks", tickets_figures.masks(run)
    yield "controls", tickets_figures.controls(tickets, record["controls"])
    yield "instability", tickets_figures.instability(record["instability"])
    yield "contrast", tickets_figures.contrast(record["contrast"])
    yield "curves", barriers_figures.curves(barriers, (0, 100))
    yield "along gamma", barriers_figures.along_gamma(barriers)
    yield "successive", barriers_figures.successive(barriers, tickets)
    yield "path", barriers_figures.path(barriers, (0, 100))
    position = torch.linspace(0, 13, 27)
    yield "live path", barriers_figures.along(position, {300: tickets["error"][:, 0].repeat(2, 1)[:27]}, barriers)
    yield "pairs", barriers_figures.pairs(record["all_pairs"], tickets)
    yield "projections", barriers_figures.projections(tickets, record["projections"], 100)
    yield "failing masks", barriers_figures.failing_masks(record["failing_masks"], tickets)
    yield "scatter", agreement.scatter(tickets, barriers["height"])
    yield "contingency", agreement.contingency(tickets, barriers["height"])
    yield "agreement", agreement.agreement(tickets, barriers["height"])
    yield "plane", barriers_figures.plane(record["plane"], 0, 100)
    yield "perturbed", robustness_figures.barriers(robust)
    yield "returned", robustness_figures.returned(robust)
    yield "critical", robustness_figures.critical(robust)
    yield "kinds", robustness_figures.kinds(robust, 5)
    yield "forgiveness", robustness_figures.forgiveness(record["forgiveness"], 100)
    yield "returning", robustness_figures.returning(record["return_path"])
    yield "planes", robustness_figures.planes(record["return_plane"])
    yield "well", subspaces.well(bowl, 0.02, {2.0: torch.rand(9, dtype=torch.float64)}, 2.0)
    yield "crossing", limits_figures.crossing(bowl, torch.full_like(bowl, 1 / 50), torch.linspace(-1, 1, 900), 0.02)
    yield "spectra", limits_figures.spectra(spectra)
    yield "convergence", limits_figures.convergence(record["convergence"], 1500)
    yield "over wells", limits_figures.over_wells(spectra, record["descents"], 75)
    yield "loss and mode", limits_figures.loss_and_mode(record["descents"], 75)
    yield "flatter", limits_figures.flatter(spectra, record["overlap"], 75)
    yield "one-shot", limits_figures.one_shot(tickets, record["controls"], spectra)
    yield "adaptive", limits_figures.adaptive(tickets, record["adaptive"], 75)
    yield "magnitudes", retraining_figures.magnitudes(record["histograms"], 5)
    yield "layers", retraining_figures.layers(record["histograms"], 5, prunable)
    yield "refilled", retraining_figures.refilled(record["refilling"])
    yield "removed", retraining_figures.removed(record["refilling"])
    yield "survivors", retraining_figures.survivors(record["refilling"])
    yield "arms", retraining_figures.arms(record["without_retraining"], tickets)
    yield "short", retraining_figures.barriers(record["without_retraining"], tickets)
    yield "scales", scale_figures.errors({"book": tickets, "medium": medium})
    yield "yardsticks", scale_figures.yardsticks({"book": tickets, "medium": medium})
    yield "scales' barriers", scale_figures.barriers({"book": barriers}, {"book": tickets})
    yield "scales' instability", scale_figures.instability({"book": record["instability"]}, {"book": 1500})
    yield "published", scale_figures.published(scale.PUBLISHED)


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
    """What chapters call ``figures``, ``agreement`` or ``subspaces`` for is among them."""
    called = set()
    for path in (ROOT / "chapters").glob("*.ipynb"):
        code = "".join(line for cell in json.loads(path.read_text())["cells"] for line in cell["source"])
        (room,) = re.findall(r"^from lotterybook\.(\w+) import .*\bfigures\b", code, re.MULTILINE)
        called |= {f"{room}_figures.{name}" for name in re.findall(r"\bfigures\.(\w+)\(", code)}
        called |= set(re.findall(r"\b((?:agreement|subspaces)\.\w+)\(", code))
    made = set(re.findall(r"yield .*?, (\w+\.\w+)\(", inspect.getsource(figures_of_the_book)))
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
        small = narrow(drawing.figure)
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
    run = experiment.setup("book").run().at(100)
    panes = tickets_figures.masks(run)
    assert list(panes.drawings) == [str(level) for level in range(len(run) - 1)]
    here, after = run[3], run[4]
    weights = torch.cat([here.state[name][0][keep[0]] for name, keep in here.mask.items()]).abs().sort().values
    kept, gone = (sum(int(keep[0].sum()) for keep in level.mask.values()) for level in (after, here))
    alt = panes.drawings["3"].alt
    assert alt.startswith(f"{gone} weights") and f"The {gone - kept} that are pruned next" in alt
    assert f"within {weights[gone - kept - 1]:.2f} of zero" in alt
    assert f"larger than {weights[gone - kept :].median():.2f}." in alt


def test_lines_between_levels_say_how_high_they_rise():
    barriers = recorded("successive_barriers", "book")
    k = barriers["rewind_step"].tolist().index(100)
    panes = barriers_figures.curves(barriers, (0, 100))
    assert len(panes.drawings) == len(barriers["height"])
    assert f"at k = 100 it rises above the straight line by {verdicts.points(barriers['height'][9, k].mean())}" in (
        panes.drawings["9 to 10"].alt
    )
    walk = barriers_figures.along_gamma(barriers)
    ends = torch.stack([barriers["curve"][:, place, 0].mean() for place in (0, -1)])
    for place, error in zip(("0.00", "1.00"), ends.tolist(), strict=True):
        assert f"k = 0 {100 * error:.1f}, " in walk.drawings[place].alt
    planes = barriers_figures.plane(recorded("plane", "book"), 0, 100)
    assert list(planes.drawings) == ["50", "100", "300"] and planes.default == "100"


def small(*barriers):
    """Records of three levels, two rewind steps, two replicates; the dense error is 10 ± 1.4 %."""
    error = torch.tensor([0.09, 0.11], dtype=torch.float64).repeat(4, 2, 1)
    error[1:, 0] += 0.05
    axes = {"density": torch.tensor([1, 0.8, 0.6, 0.5]), "rewind_step": torch.tensor([0, 100])}
    height = torch.tensor(barriers, dtype=torch.float64)[..., None].expand(-1, -1, 2)
    return {"error": error, **axes}, {"height": height, "recalibrated": height / 2, "barrier": height, **axes}


def test_where_no_level_is_connected_the_text_says_so():
    tickets, barriers = small([0.3, 0.01], [0.2, 0.05], [0.3, 0.0])
    said = "the mean barrier is within ε: k = 0 at no level; k = 100 at 80 %, 50 %."
    assert said in barriers_figures.successive(barriers, tickets).alt
    assert said[:-1] in style.within(barriers, barriers["height"], 0.011)
    joined = style.within(barriers, barriers["height"], 0.1)
    assert joined.endswith("k = 0 at no level; k = 100 at 80 % to 50 %.")
    apart = overview.ticket(tickets, barriers, 0, 100).alt
    assert "never matches, and the mean barrier between successive levels is at least 20.0 points" in apart
    assert "down to 50 % of the weights" in apart and apart.endswith("is at most 5.0 points.")


def test_pairs_say_up_to_which_level_all_are_connected():
    tickets, _ = small([0, 0])
    height = torch.full((4, 4, 2, 2), 0.2, dtype=torch.float64)
    height[:3, :3, 1] = 0.01
    height[range(4), range(4)] = 0
    record = {"height": height, "rewind_step": tickets["rewind_step"]}
    assert barriers_figures.pairs(record, tickets).alt.endswith("k = 0: none, k = 100: 2.")


def test_instability_that_rises_is_not_said_to_fall():
    record = {"rewind_step": torch.tensor([0, 10]), "height": torch.tensor([[0.3, 0.5], [0.1, 0.1]])}
    assert "falls with k: 40.0 at k = 0, 10.0 at k = 10" in tickets_figures.instability(record).alt
    assert "falls" not in tickets_figures.instability({**record, "height": record["height"].flip(0)}).alt


def test_agreement_is_said_at_both_ends():
    tickets, barriers = recorded("winning_tickets", "book"), recorded("successive_barriers", "book")
    alt, unit = agreement.agreement(tickets, barriers["height"]).alt, verdicts.tolerance(tickets)
    counts = [verdicts.contingency(tickets, barriers["height"], multiple * unit) for multiple in (0.5, 1, 8)]
    assert "at 0.5, 1, 8 dense" in alt
    assert "matching, of the connected " + ", ".join(f"{100 * c.connected_matching:.0f}" for c in counts) in alt


def test_a_plane_says_whether_a_ridge_lies_between():
    """Two rewind steps on one grid: at the first a ridge midway, at the second none."""
    side = torch.linspace(0, 1, 5, dtype=torch.float64)
    error = torch.full((5, 5, 2), 0.05, dtype=torch.float64)
    error[2, :, 0], error[0, 4], error[1, 4, 1] = 0.3, 0.06, 0.04
    record = {
        "error": error, "horizontal": side[:, None].expand(5, 2), "vertical": side[:, None].expand(5, 2),
        "corners": torch.tensor([[0.0, 0], [1, 0], [1, 1]]).double()[..., None].expand(3, 2, 2),
        "level": torch.tensor(4), "rewind_step": torch.tensor([0, 100]),
    }  # fmt: skip
    alt = barriers_figures.plane(record, 0, 100).drawings["100"].alt
    ridge, none = alt.split("k = 100: ")
    assert "5.0 at the solution, 6.0 at its projection, 30.0 midway to the next solution, 5.0 there, 1.4 away" in ridge
    assert ": a ridge between." in ridge and "projection's side, 5.0 at least" in ridge
    assert ": no ridge between." in none and "projection's side, 4.0 at least" in none


def test_lines_have_the_look_of_their_rewind_step():
    barriers = recorded("successive_barriers", "book")
    lines = barriers_figures.path(barriers, (0, 100)).figure.axes[0].get_lines()
    panes = barriers_figures.curves(barriers, (0, 100))
    for n, step in enumerate((0, 100)):
        colour, marker = style.look(barriers, step)
        line = next(line for line in lines if line.get_label() == f"k = {step}")
        assert (line.get_color(), line.get_marker()) == (colour, marker)
        drawn = panes.drawings[panes.default].figure.axes[n].get_lines()
        assert next(line for line in drawn if line.get_label() == "error").get_color() == colour


def test_returned_counts_replicates_within_two_points():
    record = recorded("robustness", "book")
    panes = robustness_figures.returned(record)
    for n, length in enumerate(record["scale"].tolist()):
        rows = [
            f"k = {k}: " + ", ".join(str(sum(h < 0.02 for h in level)) for level in record["random"][:, n, i].tolist())
            for i, k in enumerate(record["rewind_step"].tolist())
        ]
        assert panes.drawings[f"{length:g}"].alt.endswith("; ".join(rows) + ".")
    assert panes.default == "1"
    total = [sum(h < 0.02 for h in record["random"][:, 1, i].flatten().tolist()) for i in range(4)]
    assert f"{total[1]} at k = 50, {total[2]} at k = 100, {total[3]} at k = 300." in panes.drawings["1"].alt


def test_histograms_of_magnitudes_have_a_pane_a_level():
    record = recorded("histograms", "book")
    panes = retraining_figures.magnitudes(record, 5)
    assert len(panes.drawings) == len(record["all"]) and panes.default == "5"
    share = record["all"][4, 1].mean(0)  # of the projection at level 4
    at = next(i for i in range(len(share)) if share[: i + 1].sum() >= 0.05)
    assert f"{record['edges'][at + 1]:.2f} in its projection" in panes.drawings["4"].alt


def test_yardsticks_differ_in_what_they_measure_from():
    tickets = recorded("winning_tickets", "book")
    panes = scale_figures.yardsticks({"book": tickets})
    error, own = tickets["error"][1:, 2], tickets["error"][0, 2]
    for name, limit in {
        "mean dense error + ε": own.mean() + own.std(), "own dense error + ε": own + own.std(),
        "own dense error + half a point": own + 0.005,
    }.items():  # fmt: skip
        share = f"{100 * (error <= limit).double().mean():.0f} %"
        assert f"k = 100 {share}" in panes.drawings[name].alt
        words = [text.get_text() for text in panes.drawings[name].figure.axes[0].get_legend().get_texts()]
        assert words[2] == f"k = 100: {share}"


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_descriptions_of_chapter_3_begin_with_what_was_found():
    """Two levels, lengths 1 and 2, two rewind steps, two replicates."""
    heights = tensor([[[0.3, 0.5], [0.0, 0.01]], [[0.5, 0.5], [0.0, 0.06]]],
                     [[[0.1, 0.1], [0.01, 0.05]], [[0.2, 0.2], [0.1, 0.1]]])  # fmt: skip
    record = {
        "random": heights, "pruning": heights / 2, "order": tensor([[0.4, 0.4], [0, 0]], [[0.4, 0.4], [0, 0.1]]),
        "scale": tensor(1, 2), "level": torch.tensor([2, 5]), "rewind_step": torch.tensor([0, 100]),
        "density": tensor(0.6, 0.3), "distance": torch.ones(2, 2, 2), "norm": torch.ones(2, 2, 2),
    }  # fmt: skip
    assert "at so many of 2 levels: 0 at k = 0, 1 at k = 100. " in robustness_figures.barriers(record).alt
    assert "at so many of 2 levels: 0 at k = 0, 2 at k = 100. " in robustness_figures.barriers(record, "pruning").alt
    assert "k = 0: below 1, below 1; k = 100: 1.6, below 1." in robustness_figures.critical(record).alt
    drawn = robustness_figures.critical(record)
    assert drawn.alt.endswith(" For k = 0 a grey band stands for all below 1, the shortest length tried.")
    assert [line.get_label() for line in drawn.figure.axes[1].lines] == ["k = 100"]
    panes = robustness_figures.kinds(record, 5)
    assert list(panes.drawings) == ["2", "5"] and panes.default == "5"
    assert "k = 100: 3.0, 1.5, 10.0, 5.0, 5.0." in panes.drawings["5"].alt
    later = {
        "barrier": tensor([[0, 0], [0.04, 0.08]], [[0, 0], [0.01, 0.01]]), "scale": tensor(0, 2),
        "error": tensor([[0.1, 0.1], [0.2, 0.4]], [[0.1, 0.1], [0.5, 0.5]]),
        "step": torch.tensor([100, 900]), "level": torch.tensor(5),
    }  # fmt: skip
    drawn = robustness_figures.forgiveness(later, 100)
    assert drawn.alt.startswith("After a perturbation of 2 rewind distances at step 100 the mean barrier back")
    assert "is 6.0 points and the mean error 30.0 percent; after one at step 900 they are 1.0 and 50.0." in drawn.alt


def test_lengths_of_perturbations_look_alike_in_all_figures():
    path, later = recorded("return_path", "book"), recorded("forgiveness", "book")
    left = {line.get_label(): line for line in robustness_figures.forgiveness(later, 100).figure.axes[1].lines}
    right = {line.get_label(): line for line in robustness_figures.returning(path).figure.axes[0].lines}
    assert left.keys() - right.keys() == {"none"} and right.keys() - left.keys() == {"travelled"}
    assert left["none"].get_color() == style.GREY
    for name in left.keys() & right.keys():
        assert left[name].get_color() == right[name].get_color() and left[name].get_marker() == right[name].get_marker()


def test_descriptions_of_chapter_5_begin_with_what_was_found():
    """Bins up to 0.005, 0.01, 0.1 and 1; two layers at one level: solution, projection, next solution."""
    shares = tensor([[0.1, 0.2, 0.3, 0.4], [0, 0, 0.5, 0.5], [0, 0.1, 0.5, 0.4]],
                    [[0, 0.1, 0.1, 0.8], [0, 0, 0.1, 0.9], [0, 0, 0.2, 0.8]])  # fmt: skip
    record = {"edges": tensor(0, 0.005, 0.01, 0.1, 1), "layer": shares[:, None]}
    drawn = retraining_figures.layers(record, 0, ["layers.0.weight", "linear.weight"])
    assert drawn.alt.startswith("At level 0 the largest weights are those of linear.")
    assert "layer 1 0.10, linear 1.00. At most 30.0 % of a layer's weights lie below 0.01" in drawn.alt
    assert drawn.figure.axes[0].get_title() == "layer 1"
    tickets = {"error": tensor([[0.09, 0.11]])[None], "density": tensor(1)}  # epsilon is 0.014
    error = {"rewound": tensor(0.1, 0.1, 0.3), "kept": tensor(0.1, 0.1, 0.1), "short": tensor(0.1, 0.3, 0.1),
             "none": tensor(0.1, 0.3, 0.3)}  # fmt: skip
    less = {name: values[:, None].expand(-1, 2) for name, values in error.items()}
    less |= {"density": tensor(1, 0.8, 0.64), "short_barrier": tensor([0, 0], [0.1, 0.3])}
    less["rewound_barrier"] = tensor([0.4, 0.4], [0, 0])
    alt = retraining_figures.arms(less, tickets).alt
    assert (
        "IMP: rewound, then retrained 80 %; weights kept, schedule rewound 64 %; weights kept, short retraining 100 %"
        in alt
    )
    alt = retraining_figures.barriers(less, tickets).alt
    assert alt.endswith("short retraining 20.0 points at most, 0.0 points before the last level. ε is 1.41 points.")
    same = {"rewind_step": torch.tensor([0, 100]), "density": tensor(1, 0.8, 0.64)}
    same |= {name: tensor([[0.6, 0.8], [0.9, 0.9]]) for name in ("signs", "start_signs")}
    same |= {name: tensor([[-0.1, 0.3], [0.5, 0.52]]) for name in ("magnitudes", "start_magnitudes")}
    alt = retraining_figures.survivors(same).alt
    assert "equal signs in percent k = 0 70, k = 100 90, correlation of magnitudes k = 0 0.10, k = 100 0.51" in alt


def test_figures_of_chapters_3_and_5_say_what_they_show():
    robust, later = recorded("robustness", "book"), recorded("forgiveness", "book")
    n, i = 1, 2
    level, k = int(robust["level"][n]), int(robust["rewind_step"][i])
    means = ", ".join(f"{100 * h:.1f}" for h in robust["random"][n, :, i].mean(-1).tolist())
    assert f"level {level}, k = 0: " in robustness_figures.barriers(robust).alt
    assert f"k = {k}: {means}" in robustness_figures.barriers(robust).alt
    assert f"k = {k}: {robustness.critical(robust)[0, i].mean():.1f}, " in robustness_figures.critical(robust).alt
    assert f"{100 * later['error'][-1, -1].mean():.1f}" in robustness_figures.forgiveness(later, 100).alt
    path, planes = recorded("return_path", "book"), recorded("return_plane", "book")
    assert f"cosine {path['cosine'][-1, 0].mean():.2f}" in robustness_figures.returning(path).alt
    ends = planes["track"][-1, :, -1]
    assert f"{float((ends[0] - ends[1]).norm()):.1f} after length 8." in robustness_figures.planes(planes).alt
    refill, less = recorded("refilling", "book"), recorded("without_retraining", "book")
    assert f"k = 0 {100 * refill['already'][:, 0].mean():.0f}" in retraining_figures.refilled(refill).alt
    assert f"k = 0 {100 * refill['removed'][:, 0].mean():.0f}" in retraining_figures.removed(refill).alt
    tickets = recorded("winning_tickets", "book")
    assert f"no retraining {100 * less['none'][-1].mean():.1f}" in retraining_figures.arms(less, tickets).alt
    highest = less["short_barrier"].mean(-1).max()
    assert f"short retraining {100 * highest:.1f} points at most, " in retraining_figures.barriers(less, tickets).alt
