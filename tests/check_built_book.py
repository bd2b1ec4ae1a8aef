"""Opens every page of the built book in Chromium, from the disk, with no network: `make book`, then `make check`.

pytest runs this file only when it is named, because it needs ``_build/html``. Chromium (or Chrome) is found by its
usual names; the environment variable CHROMIUM names another.
"""

import functools
import html
import html.parser
import re
import sys
import urllib.parse
from pathlib import Path

import pytest
from built_book import HTML, SECONDS, built_pages, new_tab, open_page

LOCAL = ("file:", "data:", "blob:", "about:")

pytestmark = pytest.mark.browser


class Links(html.parser.HTMLParser):
    """Collects where a page's links lead, and the names that links can lead to."""

    def __init__(self, path):
        super().__init__()
        self.targets, self.names = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Note one tag's links and names."""
        attrs = dict(attrs)
        self.names |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        self.targets |= {attrs[key] for key in ("href", "src") if attrs.get(key)}


@functools.cache
def links(path):
    """The links of a page, read once: hundreds lead to the same one."""
    return Links(path)


def test_book_is_built():
    assert "index.html" in built_pages(), f"there is no book in {HTML}; run `make book` first"


@pytest.mark.parametrize("page", built_pages())
def test_page_opens(browser, page):
    """No error, nothing asked of another host, formulas set, widgets shown once, pictures described."""
    problems, requests = [], []
    with new_tab(browser) as tab:
        tab.on("console", lambda said: said.type == "error" and problems.append(f"{said.text} {said.location['url']}"))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("requestfailed", lambda request: problems.append(f"failed: {request.url[:200]}"))
        tab.on("request", lambda request: requests.append(request.url))
        widgets = open_page(tab, HTML / page)
        tab.wait_for_timeout(SECONDS)  # what comes late, such as a second rendering, would come now
        assert tab.locator(".widget-subarea").count() == widgets, "each widget must be shown once"
        problems += stuck_controls(tab)
        unset = tab.evaluate(
            """() => [...document.querySelectorAll("div.math, span.math")]
                     .filter(e => !e.querySelector("mjx-container") || e.querySelector("[data-mjx-error], mjx-merror"))
                     .map(e => e.textContent.slice(0, 80))"""
        )
        undescribed = tab.evaluate(
            r"""() => [...document.querySelectorAll("img, svg[role=img]:not(.svg-inline--fa)")]
                      .filter(e => !e.closest("mjx-container"))
                      .map(e => e.getAttribute("alt") || e.getAttribute("aria-label") || "nothing.png")
                      .filter(text => /\.(png|svg|jpe?g|gif)$/i.test(text))"""  # Sphinx describes by the file's name
        )
    assert not unset, "formulas that are not set"
    assert not undescribed, "pictures without a description"
    if sys.version_info < (3, 11):  # its older theme preloads fonts in a way that a page from the disk may not
        problems = [problem for problem in problems if "/_static/vendor/fontawesome/" not in problem]
    assert not problems, "errors in the page"
    assert [url[:200] for url in requests if not url.startswith(LOCAL)] == [], "requests to other hosts"


def stuck_controls(tab):
    """Names of sliders and buttons that do not change both what their widget shows and how it describes that."""
    look = """area => {
        const shown = [...area.querySelectorAll("img")].filter(e => e.offsetParent !== null);
        return {picture: shown.map(e => e.src).join(), description: shown.map(e => e.alt).join()};
    }"""
    stuck = []
    for area in tab.locator(".widget-subarea").all():
        handles, buttons = area.locator(".noUi-handle").all(), area.locator(".widget-toggle-buttons button").all()
        stuck += [] if handles or buttons else ["a widget without a control"]
        for control in [*handles, *buttons]:
            before = area.evaluate(look)
            if control in handles:
                at_end = control.get_attribute("aria-valuenow") == control.get_attribute("aria-valuemax")
                control.press("ArrowLeft" if at_end else "ArrowRight")
            elif "mod-active" in control.get_attribute("class"):
                continue
            else:
                control.click()
            tab.wait_for_timeout(300)
            after = area.evaluate(look)
            kind = "slider" if control in handles else f"button {control.inner_text()}"
            stuck += [f"{kind}: the same {what} {was[:80]!r}" for what, was in before.items() if was == after[what]]
    return stuck


@pytest.mark.parametrize("page", built_pages())
def test_internal_links_resolve(page):
    """Every link inside the book leads to a file that is there, and to a place that is in it."""
    here = HTML / page
    broken = []
    for target in links(here).targets:
        url = urllib.parse.urlsplit(target)
        if url.scheme or url.netloc or not (url.path or url.fragment):
            continue
        file = (here.parent / urllib.parse.unquote(url.path)).resolve() if url.path else here
        known = file.exists() and (
            not url.fragment or file.suffix != ".html" or urllib.parse.unquote(url.fragment) in links(file).names
        )
        if not known:
            broken.append(target)
    assert broken == []


CHAPTERS = [page for page in built_pages() if page.startswith("chapters/0")]


@pytest.mark.parametrize("page", CHAPTERS)
def test_chapter_has_something_to_move(page):
    """A figure with a slider or buttons; that they change it is seen where the page opens."""
    assert "application/vnd.jupyter.widget-view+json" in (HTML / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", CHAPTERS)
def test_terms_and_symbols_are_explained(page):
    """A chapter's terms link to their definitions, each once, and every formula is followed by one to its symbols."""
    text = (HTML / page).read_text(encoding="utf-8")
    glossary = html.unescape((HTML / "chapters" / "glossary.html").read_text(encoding="utf-8")).replace("’", "'")
    terms = re.findall(r'<a class="term [^>]*href="glossary.html#([^"]+)" title="([^"]+)"><span', text)
    assert len(terms) == text.count('<a class="term ') == len(set(terms)) >= 10
    for anchor, definition in terms:
        shown = re.search(rf'id="{anchor}".*?<dd><p>(.*?)</p>', glossary, re.DOTALL)[1]
        assert re.sub("<.*?>", "", shown) == html.unescape(definition)
    linked = r'<div class="math.*?</div>(\s*<p class="symbols"><a [^>]*href="notation.html#\w)?'
    formulas = re.findall(linked, text, re.DOTALL)
    assert all(formulas) and len(formulas) == text.count('<p class="symbols">')
    assert formulas or "retraining" in page  # the one chapter without


@pytest.mark.parametrize("page", CHAPTERS)
def test_every_figure_has_a_numbered_caption_a_permalink_and_its_data(page):
    """Numbers run through the chapter, every picture stands in a figure, and the files are what they are called."""
    text = (HTML / page).read_text(encoding="utf-8")
    figures = re.findall(r'<figure class="numbered.*?</figure>', text, re.DOTALL)
    article = text[text.index("<article") : text.index("</article>")]
    assert len(figures) == len(re.findall(r'<img [^>]*class="[^"]*\bdrawing\b', article)) > 0
    for place, figure in enumerate(figures, 1):
        (name,) = re.findall(r'^<figure [^>]*id="(fig-[^"]+)"', figure)
        assert re.search(rf'<a class="headerlink" href="#{name}"', figure)
        number, words = re.search(
            r'caption-number">Figure (.*?)\.</span>(.*?)<span class="figure-data"', figure
        ).groups()
        assert number == f"{int(page.split('/')[1][:2])}.{place}" and re.search(r"\w.*\.\s*$", words), name
        picture, table = re.findall(r'<a [^>]*href="([^"]+\.(?:png|csv))"[^>]*>(?:PNG|<span[^>]*>CSV|CSV)', figure)
        assert (HTML / page).parent.joinpath(picture).read_bytes().startswith(b"\x89PNG")
        head, *rows = (HTML / page).parent.joinpath(table).read_text(encoding="utf-8").splitlines()
        assert "kind" in head.split(",") and rows, name


def test_pages_of_widgets_are_light():
    """The pictures of widgets lie beside a page, not in it."""
    for page in CHAPTERS:
        assert (HTML / page).stat().st_size < 1_000_000 and "data:image/png" not in (HTML / page).read_text("utf-8")


@pytest.mark.parametrize("page", CHAPTERS)
def test_the_picture_offered_is_that_of_the_pane_shown(browser, page):
    with new_tab(browser) as tab:
        open_page(tab, HTML / page)
        figure = tab.locator("figure:has(.widget-subarea)").first
        handle = figure.locator(".noUi-handle, .widget-toggle-buttons button:not(.mod-active)").first
        handle.press("ArrowLeft") if "noUi" in handle.get_attribute("class") else handle.click()
        tab.wait_for_timeout(300)
        link = figure.locator("a.png")
        link.evaluate("e => e.addEventListener('click', event => event.preventDefault())")
        was = link.get_attribute("href")
        link.click()
        shown = figure.locator("img:visible").evaluate("e => e.src")
        assert link.evaluate("e => e.href") == shown and Path(was).name != Path(shown).name


def test_status_calls_chapters_by_their_titles():
    status = (HTML / "chapters" / "status.html").read_text(encoding="utf-8")
    listed = dict(re.findall(r'<td><p><a class="[^"]*" href="(0[^"]+)">(.*?)</a>', status))
    assert set(listed) == {page.removeprefix("chapters/") for page in CHAPTERS}
    for page, title in listed.items():
        assert f"<h1>{re.sub('<.*?>', '', title)}<" in (HTML / "chapters" / page).read_text(encoding="utf-8")


def test_index_lists_the_terms_and_where_they_are_used():
    """Each name in the glossary leads there, and below most terms stand the pages that mention them."""
    index = (HTML / "genindex.html").read_text(encoding="utf-8")
    names = re.findall(r'<dt id="(term-[^"]+)"', (HTML / "chapters" / "glossary.html").read_text(encoding="utf-8"))
    assert len(names) > 60
    assert [name for name in names if f'<a href="chapters/glossary.html#{name}"><strong>' not in index] == []
    assert len(set(re.findall(r'<a href="chapters/\w+\.html#(mention-[^"]+)">', index))) > 40
    for name in ("IMP", "LRR", "barrier"):  # by whatever name one looks a term up
        entry = index.split(f'#term-{name}"><strong>')[1].split("#term-")[0]
        assert "#mention-" in entry, name
    # hundreds of functions have pages of their own; the page lotterybook.html is among the links beside the index
    assert not re.search(r"#lotter(ylib|ybook)\.", index)
