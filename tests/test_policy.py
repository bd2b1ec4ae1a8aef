"""What a page may run, and that text from records stays text: a small book with the settings of this one."""

import html.parser
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from built_book import find_chromium, new_tab, open_page

from lotterybook import build, captions, verdicts

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "_ext"))
import policy  # noqa: E402

RUN = "alert(1)"
HOSTILE = {  # what a dataset, a device or a label may be called
    "tag": f"<img src=x onerror={RUN}>",
    "escaped": rf"\<img src=x onerror={RUN}>",
    "script": f"</script><script>{RUN}</script>",
    "comment": f"<!-- --><svg onload={RUN}>",
    "block": f"a\n\n```{{raw}} html\n<img src=x onerror={RUN}>\n```\n",
    "reference": f"&lt;img src=x onerror={RUN}&gt;",
}
SHOWN = f"""\
from lotterybook import panes, style, verdicts
hostile = {HOSTILE!r}

def drawing(text):
    figure, axes = style.canvas()
    axes.plot([0, 1], label=text)
    return style.Drawing(figure, f"Of {{text}} it is.")
"""
CELLS = {  # every way in which a cell shows text
    "verdicts": "verdicts.Table([verdicts.Verdict(*[text] * 4) for text in hostile.values()])",
    "table": "verdicts.table([*hostile.values()], [[*hostile.values()]])",
    "text": "verdicts.Text(hostile.values())",
    "caption": "drawing('x').captioned(hostile['tag'], name='one')",
    "block": "drawing('x').captioned(hostile['block'], name='two')",
    "alt": "drawing(' '.join(hostile.values())).captioned(name='three')",
    "buttons": "panes.Panes(hostile['tag'], {text: drawing(text) for text in [*hostile.values()][:2]},"
    " hostile['tag']).captioned(name='four')",
    "slider": "panes.Panes(hostile['script'], {text: drawing(text) for text in hostile.values()},"
    " hostile['tag']).captioned(name='five')",
    "plain": "print(hostile['tag']); hostile",
}
PAGES = {
    "intro.md": "# Small\n\nA formula, $x^2$.\n\n```{math}\nx = 1\n```\n\n"
    '<div class="explorable">\n\n![Drawn](images/landscape.png){.drawing}\n\n</div>\n',
    "chapters/02_bad.md": f"# Bad\n\n<script>{RUN}</script>\n\n<img src=x onerror={RUN}>\n\n"
    f'<p><a href="javascript:{RUN}">go</a> <img src="https://example.org/x.png"></p>\n',
    "chapters/glossary.md": "# Glossary\n\n```{glossary}\nticket\n  A *mask*.\n```\n",
    "chapters/notation.md": "# Notation\n\n## One\n\n$x$\n\n## Two\n\n$y$\n",
    "_toc.yml": "format: jb-book\nroot: intro\nchapters:\n  - file: chapters/01_text\n  - file: chapters/02_bad\n"
    "  - file: chapters/glossary\n  - file: chapters/notation\n",
}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The folder of the built pages."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "chapters").mkdir()
    for name in ("_config.yml", "_ext", "_static", "_vendor", "images", "references.bib"):
        (folder / name).symlink_to(ROOT / name)
    for name, text in PAGES.items():
        (folder / name).write_text(text, encoding="utf-8")
    cells = [nbformat.v4.new_code_cell(source) for source in (SHOWN, *CELLS.values())]
    cells.insert(0, nbformat.v4.new_markdown_cell("# 1. Text\n\nA formula: $x^2$."))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "chapters" / "01_text.ipynb")
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "."]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"}
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)
    built = folder / "_build" / "html"
    assert (built / "chapters" / "01_text.html").exists(), done.stderr[-3000:]
    return built


class Parsed(html.parser.HTMLParser):
    """What a browser makes of a page: its elements, and the text of its article."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self.inside, self.script = [], "", False, False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside |= tag == "article"
        self.script = tag == "script"

    def handle_endtag(self, tag):
        self.inside &= tag != "article"
        self.script = False

    def handle_data(self, data):
        if self.inside and not self.script:
            self.text += data


def rules(path):
    """The policy that a page names, before anything that it could keep from running."""
    text = path.read_text(encoding="utf-8")
    (found,) = re.findall('<meta http-equiv="Content-Security-Policy" content="(.*?)" />', text)
    assert text.index(found) < text.index("<script") and text.index("<meta charset") < 1024
    return dict(rule.split(" ", 1) for rule in found.split("; "))


@pytest.mark.parametrize(
    "page", ["intro", "search", "genindex", "chapters/01_text", "chapters/02_bad", "chapters/glossary"]
)
def test_a_page_loads_from_its_place_alone_and_runs_no_script_of_its_text(book, page):
    found = rules(book / f"{page}.html")
    assert found["default-src"] == found["form-action"] == "'self'"
    assert found["object-src"] == found["base-uri"] == "'none'"
    assert set(found["script-src"].split()[:2]) == {"'self'", "'unsafe-hashes'"}
    others = [each for each in found["script-src"].split()[2:] if not re.fullmatch(r"'sha256-[\w+/]{43}='", each)]
    assert others == ["'unsafe-eval'"] * (page == "chapters/01_text"), "only beside widgets"
    assert not re.search(r"https?:|\*|blob:", " ".join(found.values()))
    assert "'unsafe-inline'" not in " ".join(allowed for name, allowed in found.items() if name != "style-src")


def test_hashes_are_those_of_the_theme_and_not_of_the_text():
    frame = '<meta charset="utf-8"><script>let a;</script><script src="b.js"></script><p onclick="c(&quot;)">'
    text = f'<script>{RUN}</script><img onerror="{RUN}">'
    page = policy.protected(frame + text, text)
    assert page.count("'sha256-") == 2
    # as `printf 'let a;' | openssl dgst -sha256 -binary | base64` gives it
    assert "'sha256-81WALLbUROF1pWdYjuQYKuIcGgY/+TqVJr8UsV6Tkvo='" in page
    with pytest.raises(policy.ExtensionError, match="theme"):
        policy.protected(frame, text)


def test_text_is_text(book):
    """No way leads from a name to an element of the page, and each name is there to read."""
    page = Parsed(book / "chapters" / "01_text.html")
    assert [attrs for _, attrs in page.elements if {"onerror", "onload"} & set(attrs) or attrs.get("src") == "x"] == []
    shown = " ".join(page.text.split())
    assert shown.count(HOSTILE["tag"]) >= 10 and HOSTILE["reference"] in shown
    alts = [attrs["alt"] for tag, attrs in page.elements if tag == "img" and "drawing" in attrs.get("class", "")]
    assert any(HOSTILE["tag"] in alt and HOSTILE["script"] in alt for alt in alts)


def test_numbers_in_the_prose_and_captions_bring_no_html():
    for text in HOSTILE.values():
        for written in (
            build.fill('<span data-value="a">1</span>', {"a": text})[len('<span data-value="a">') : -len("</span>")],
            verdicts.inert(text), captions.escape(text),
        ):  # fmt: skip
            assert not re.search(r"(?<!\\)<[a-zA-Z/!?]", written) and "\n" not in written
    same = "It *rises* by < 2 points, $a < b$: **half** of [these](#x)."
    assert verdicts.inert(same) == same
    assert verdicts.inert("**8 ± 1 %** of") == "**8 ±\N{NO-BREAK SPACE}1\N{NO-BREAK SPACE}%** of"


@pytest.fixture
def visit(request):
    """Open a page: gives its tab, and the list that its errors go into."""
    if not find_chromium():
        pytest.skip("no Chromium and no Chrome found")
    with new_tab(request.getfixturevalue("browser")) as tab:

        def visit(path):
            errors = []
            tab.on("console", lambda said: said.type == "error" and errors.append(said.text))
            tab.on("pageerror", lambda error: errors.append(str(error)))
            tab.on("dialog", lambda dialog: (errors.append(f"ran: {dialog.message}"), dialog.dismiss()))
            return tab, open_page(tab, path), errors

        yield visit


def test_formulas_widgets_and_the_theme_work_under_it(book, visit):
    """And what widgets make of names: their labels, and descriptions of pictures."""
    tab, widgets, errors = visit(book / "chapters" / "01_text.html")
    assert widgets == 2 and tab.locator("span.math mjx-container").count() == 1
    picture = tab.locator(".widget-subarea img:visible")
    before = picture.first.get_attribute("alt")
    tab.locator(".widget-toggle-buttons button").nth(1).click()
    tab.locator(".noUi-handle").press("ArrowRight")
    tab.locator('[onclick="toggleFullScreen()"]').first.evaluate("e => e.click()")
    tab.wait_for_timeout(500)
    assert picture.first.get_attribute("alt") != before
    assert tab.locator(".widget-toggle-buttons button").first.inner_text() == HOSTILE["tag"]
    assert tab.locator("[onerror], [onload], img[src=x]").count() == 0
    assert [error for error in errors if "ullscreen" not in error] == []  # which a browser grants to a finger alone


def test_the_landscape_works_under_it(book, visit):
    tab, _, errors = visit(book / "intro.html")
    assert tab.locator("mjx-container").count() == 2
    tab.get_by_role("slider").press("End")
    tab.get_by_role("button", name="Prune").press("Enter")
    tab.get_by_role("status").filter(has_text="it wins").wait_for()
    assert errors == []


def test_a_script_in_a_text_does_not_run(book, visit):
    """Written as HTML, which no name gets to be; nor does another host hear of the reader."""
    tab, _, errors = visit(book / "chapters" / "02_bad.html")
    with tab.expect_console_message(lambda said: "JavaScript URL" in said.text):
        tab.get_by_role("link", name="go").click()
    for refused in ("Executing inline script", "Executing inline event handler", "https://example.org/x.png'"):
        assert any(refused in error and "Content Security Policy" in error for error in errors), errors
    assert not any(error.startswith("ran") for error in errors)
