"""Captions: names and numbers, what a cell shows, the table of what a figure draws, and a small book that is built."""

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import IPython
import matplotlib
import nbformat
import pytest
import torch

from lotterybook import captions, style
from lotterybook.narrow import narrow
from lotterybook.panes import Panes
from lotterybook.tickets import figures

ROOT = Path(__file__).resolve().parent.parent
EXTENSIONS = ["myst_nb", "pictures", "captions"]


def drawing(**options):
    """Two panels that share an axis, in percent."""
    figure, axes = style.canvas(1, 2, sharey=True)
    for n, panel in enumerate(axes):
        panel.plot([0, 1], [0.1, 0.2 + n], label="kept")
        panel.set(title=f"k = {n}", xlabel="level")
    axes[0].set_ylabel("test error (%)")
    style.percent_axis(axes[0].yaxis)
    return style.Drawing(figure, "Error rises with 2 * the level. It ends at 20 or 120 percent.", **options)


def rows(table):
    return list(csv.DictReader(io.StringIO(table)))


def test_a_table_holds_lines_in_the_units_of_their_labels():
    first, *_, last = rows(drawing().csv())
    assert first == {
        "panel": "k = 0", "kind": "line", "series": "kept", "line": "1", "x: level": "0", "y: test error (%)": "10",
    }  # fmt: skip
    assert (last["panel"], last["y: test error (%)"]) == ("k = 1", "120")


def test_a_table_holds_bands_points_bars_and_what_spans_a_panel():
    figure, axes = style.canvas()
    style.spread(axes, [1, 2], torch.tensor([[1.0, 3.0], [2.0, 4.0]]), "mean", style.BLUE)
    axes.scatter([5], [6], color=style.BLUE, s=4)
    axes.axhline(7, color=style.GREY, label="ε")
    axes.axhspan(1, 2, color=style.GREEN, label="dense")
    axes.bar([3], [8], label="share")
    axes.stairs([9, 10], [0, 1, 2], label="histogram")
    found = {(row["kind"], row["series"]): row for row in rows(style.Drawing(figure, "").csv())}
    assert found["line", "mean"]["y"] == "3" and found["line", "ε"]["x"] == "" and found["line", "ε"]["y"] == "7"
    assert (found["band", "mean"]["low"], found["band", "mean"]["high"]) == ("2", "4")
    assert (found["band", "dense"]["low"], found["band", "dense"]["high"]) == ("1", "2")
    assert (found["points", "mean"]["x"], found["points", "mean"]["y"]) == ("5", "6")
    assert (found["bars", "share"]["x"], found["bars", "share"]["y"]) == ("3", "8")
    assert [found["steps", "histogram"][name] for name in ("low", "high", "y")] == ["1", "2", "10"]


def test_a_table_holds_images_and_contours_in_the_units_of_the_colour_bar():
    values = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    for draw in ("imshow", "contourf"):
        figure, axes = style.canvas()
        drawn = axes.imshow(values) if draw == "imshow" else axes.contourf([0, 1, 2], [0, 1], values)
        bar = figure.colorbar(drawn, ax=axes, label="error (%)")
        style.percent_axis(bar.ax.yaxis)
        found = rows(style.Drawing(figure, "").csv())
        assert {(row["x"], row["y"]): row["value: error (%)"] for row in found} == {
            (f"{x}", f"{y}"): f"{100 * values[y, x]:.6g}" for x in range(3) for y in range(2)
        }


def test_a_narrow_figure_stacks_its_panels_with_their_labels():
    wide = drawing()
    small = narrow(wide.figure)
    boxes = [axes.get_position() for axes in small.axes]
    assert boxes[0].y0 > boxes[1].y1 and boxes[0].x0 == pytest.approx(boxes[1].x0, abs=0.01)
    assert [axes.get_ylabel() for axes in small.axes] == ["test error (%)"] * 2
    assert small.get_figwidth() < wide.figure.get_figwidth() == style.WIDTH
    assert [axes.get_ylabel() for axes in wide.figure.axes] == ["test error (%)", ""], "the wide one stays as it is"


def test_a_narrow_figure_leaves_out_only_the_ticks_that_have_no_room():
    """Half a point, by which matching and connected are judged, stays on a phone where two tenths cannot."""
    figure, axes = style.canvas(1, 2)
    for each in axes:
        each.plot([0, 0.5], [0, 0.5])
        style.rate_scale(each, "x")
        each.set_yticks([0, 0.1, 0.2])
    small = narrow(figure).axes[0]
    words = [label.get_text() for label in small.get_xticklabels()]
    assert words[:3] == ["0", "0.5", "1"] and words[-1] == "50" and len(small.get_yticks()) == 3


def test_a_figure_function_may_draw_the_narrow_figure_itself():
    own = matplotlib.figure.Figure(figsize=(1, 1))
    assert style.Drawing(drawing().figure, "", narrow=own).narrow() == style.Drawing(own, "").png()


@pytest.mark.parametrize(
    ("source", "name"),
    [("x = 1\nfigures.errors(x)", "tickets-errors"), ("figures.errors(x).captioned('It *falls*.')", "tickets-errors"),
     ("display(figures.errors(x))", "tickets-errors"), ("mine(1)", "mine"), ("drawing", "figure"), ("1 +", "figure")],
)  # fmt: skip
def test_a_figure_is_named_by_room_and_function(source, name):
    def mine(): ...

    assert captions.called(source, {"figures": figures, "display": print, "mine": mine}) == name


def test_figures_are_numbered_by_chapter_and_place():
    assert captions.in_order(["a", "b", "a"], "chapters/02_x") == [("a", "2.1"), ("b", "2.2"), ("a-2", "2.3")]
    assert captions.in_order(["a"], "intro") == [("a", "1")]


def test_a_caption_falls_back_on_the_first_sentence():
    assert captions.first_sentence("At 0.1, e.g. here. Then more. More.") == "At 0.1, e.g. here."
    assert captions.escape("a_b * $c$ <d>") == r"a\_b \* \$c\$ \<d\>"


@pytest.fixture
def shown(monkeypatch):
    """Show something as a cell does; gives its outputs as a notebook keeps them."""

    def show(what, source="figures.errors(x)"):
        outputs = []

        def keep(data, metadata, raw):
            assert raw
            data = {kind: base64.b64encode(d).decode() if isinstance(d, bytes) else d for kind, d in data.items()}
            outputs.append(nbformat.v4.new_output("display_data", data, metadata=metadata))

        shell = type("Shell", (), {"user_ns": {"In": ["", source], "figures": figures}})
        with monkeypatch.context() as patch:
            patch.setattr(IPython, "get_ipython", lambda: shell)
            patch.setattr("IPython.display.display", keep)
            what._ipython_display_()
        return outputs

    return show


def test_a_cell_shows_picture_and_caption(shown):
    picture, caption = shown(drawing())
    assert set(picture["data"]) == {"image/png", "text/plain"} and picture["metadata"]["figure"] == "tickets-errors"
    said = caption["data"]["text/markdown"]
    assert re.fullmatch(r"\*\*Figure( [\d.]+)?\.\*\* Error rises with 2 \\\* the level\.", said)
    assert shown(drawing(caption="It *rises*."))[1]["data"]["text/markdown"].endswith("** It *rises*.")
    own = shown(drawing(caption="It *rises*.").captioned("It falls.", name="fall"))
    assert own[1]["data"]["text/markdown"] == "**Figure.** It falls." and own[0]["metadata"]["figure"] == "fall"


def test_panes_have_the_caption_of_their_default_and_the_data_of_all(shown, monkeypatch):
    monkeypatch.setenv(captions.FOR_PAGE, "1")
    panes = Panes("level", {"1": drawing(caption="One."), "2": drawing(caption="Two.")}, "2")
    picture, caption = shown(panes)
    assert caption["data"]["text/markdown"].endswith("** Two.")
    parts = picture["data"][captions.PARTS]
    assert {row["pane"] for row in rows(parts["csv"])} == {"level 1", "level 2"}
    assert base64.b64decode(parts["narrow"]) == panes.drawings["2"].narrow()


@pytest.fixture
def notebooks(tmp_path, shown, monkeypatch):
    """Write a notebook of figures, `{source: what it shows}`."""

    def write(name, cells):
        monkeypatch.setenv(captions.FOR_PAGE, "1")
        made = [nbformat.v4.new_markdown_cell(f"# {name}")]
        made += [
            nbformat.v4.new_code_cell(source, outputs=shown(what, source))
            if not isinstance(what, str) else nbformat.v4.new_markdown_cell(what) for source, what in cells.items()
        ]  # fmt: skip
        notebook = nbformat.v4.new_notebook(
            cells=made,
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3"},
                "language_info": {"name": "python"},
            },
        )
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        return tmp_path

    return write


def test_kept_captions_are_numbered_and_links_filled_in(notebooks):
    folder = notebooks("03_some", {"figures.errors(x)": drawing(), "figures.masks(x)": drawing()})
    numbers = captions.numbers(folder)
    assert numbers == {"tickets-errors": "3.1", "tickets-masks": "3.2"}
    notebook = json.loads((folder / "03_some.ipynb").read_text(encoding="utf-8"))
    captions.number_outputs(notebook, "03_some")
    assert captions.captions(notebook)[1]["data"]["text/markdown"].startswith("**Figure 3.2.** Error")
    text = "[](#fig-tickets-masks), [Figure 9.9](#fig-tickets-errors), [that one](#fig-tickets-errors)"
    filled = captions.fill(text, numbers)
    assert filled == (
        "[Figure 3.2](#fig-tickets-masks), [Figure 3.1](#fig-tickets-errors), [that one](#fig-tickets-errors)"
    )
    assert captions.fill(filled, numbers) == filled
    with pytest.raises(ValueError, match="'nope'; there are tickets-errors, tickets-masks"):
        captions.fill("[](#fig-nope)", numbers)


def build(folder, builder="html"):
    """Build a book of a folder's notebooks and their index; return its folder, or what went wrong."""
    (folder / "index.md").write_text("# Book\n\n```{toctree}\n:glob:\n\n0*\n```\n", encoding="utf-8")
    (folder / "conf.py").write_text(
        f"extensions = {EXTENSIONS}\nroot_doc = 'index'\nproject = author = copyright = 'Book'\nversion = '1'\n"
        "exclude_patterns = ['_build']\nnb_execution_mode = 'off'\nnb_render_markdown_format = 'myst'\n"
        "myst_enable_extensions = ['dollarmath']\n",
        encoding="utf-8",
    )
    out = folder / "_build" / builder
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-E",
        "-q",
        "-W",
        "-n",
        "-b",
        builder,
        "-d",
        folder / "_build" / "doctrees",
    ]
    path = os.pathsep.join(map(str, (ROOT / "_ext", ROOT)))
    done = subprocess.run(
        [*command, folder, out], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    return out if not done.returncode else done.stderr


def figures_of(page):
    return re.findall(r'<figure class="numbered.*?</figure>', page.read_text(encoding="utf-8"), re.DOTALL)


def test_a_built_page_numbers_its_figures_and_offers_their_data(notebooks):
    errors, masks = drawing(), drawing(caption="It *rises* to $k$.")
    prose = "See [](#fig-tickets-masks) and [that](#fig-tickets-errors)."
    notebooks("04_other", {"figures.controls(x)": drawing(), "text": "As [Figure 0](#fig-tickets-masks) says."})
    folder = notebooks("03_some", {"figures.errors(x)": errors, "text": prose, "figures.masks(x)": masks})
    out = build(folder)
    assert isinstance(out, Path), out
    first, second = figures_of(out / "03_some.html")
    assert 'id="fig-tickets-errors"' in first and 'href="#fig-tickets-errors"' in first
    words = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", first))
    assert "Figure 3.1. Error rises with 2 * the level. PNG CSV" in words
    assert "Figure 3.2." in second and "It <em>rises</em> to <span" in second
    csv_file = out / re.search(r'href="([^"]*tickets-masks.csv)"', second)[1]
    assert csv_file.read_text(encoding="utf-8") == masks.csv()
    narrow, wide = re.search(r'srcset="([^"]+)" /><img [^>]*src="([^"]+)"', second).groups()
    assert (out / narrow).read_bytes() == masks.narrow() and (out / wide).read_bytes() == masks.png()
    assert f'<a class="png" download="tickets-masks.png" href="{wide}">' in second
    page, other = ((out / f"{name}.html").read_text(encoding="utf-8") for name in ("03_some", "04_other"))
    assert re.search(r'href="#fig-tickets-masks"[^>]*><span>Figure 3.2</span>', page)
    assert re.search(r'href="#fig-tickets-errors"[^>]*><span>that</span>', page)
    assert re.search(r'href="03_some.html#fig-tickets-masks"[^>]*><span>Figure 3.2</span>', other)
    notebooks("03_some", {"figures.masks(x)": masks, "text": prose, "figures.errors(x)": errors})
    build(folder)
    assert "Figure 3.1." in figures_of(out / "03_some.html")[0], "a figure that moves has another number"
    assert "<span>Figure 3.1</span>" in (out / "04_other.html").read_text(encoding="utf-8")
    epub = build(folder, "epub")
    assert isinstance(epub, Path), epub
    text = (epub / "03_some.xhtml").read_text(encoding="utf-8")
    assert "Figure 3.2." in text and "figure-data" not in text


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"text": "See [](#fig-nope)."}, "nope"),
        ({"figures.errors(x)": None}, "two pages have a figure 'tickets-errors'"),
    ],
)
def test_what_a_book_gets_wrong_is_an_error(notebooks, cells, said):
    notebooks("01_one", {"figures.errors(x)": drawing()})
    folder = notebooks("02_two", {source: what or drawing() for source, what in cells.items()})
    assert said in str(build(folder))
