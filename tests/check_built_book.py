"""Opens every page of the built book in Chromium, from the disk, with no network: `make book`, then `make check`.

pytest runs this file only when it is named, because it needs ``_build/html``. Chromium (or Chrome) is found by its
usual names; the environment variable CHROMIUM names another.
"""

import html
import html.parser
import os
import re
import shutil
import sys
import urllib.parse
from pathlib import Path

import pytest

HTML = Path(__file__).resolve().parent.parent / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOCAL = ("file:", "data:", "blob:", "about:")
SECONDS = 1000  # the browser counts in milliseconds

pytestmark = pytest.mark.browser


def built_pages():
    """Paths of all pages, relative to the built book."""
    skipped = ("_static", "_sources", "vendor")
    pages = (page.relative_to(HTML) for page in HTML.rglob("*.html"))
    return sorted(page.as_posix() for page in pages if page.parts[0] not in skipped)


def find_chromium():
    """Path of the browser, or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser():
    """One headless Chromium for all pages."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    assert path, f"no browser found as {', '.join(NAMES)}; install Chromium or set CHROMIUM to its path"
    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=path, args=list(FLAGS))
        yield running
        running.close()


class Links(html.parser.HTMLParser):
    """Collects where a page's links lead, and the names that links can lead to."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.names = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note one tag's links and names."""
        attrs = dict(attrs)
        self.names |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        self.targets |= {attrs[key] for key in ("href", "src") if attrs.get(key)}


def test_book_is_built():
    assert "index.html" in built_pages(), f"there is no book in {HTML}; run `make book` first"


@pytest.mark.parametrize("page", built_pages())
def test_page_opens(browser, page):
    """No error, nothing asked of another host, formulas set, widgets shown once, pictures described."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(60 * SECONDS)
    problems, requests = [], []
    tab.on(
        "console", lambda said: problems.append(f"{said.text} {said.location['url']}") if said.type == "error" else 0
    )
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("requestfailed", lambda request: problems.append(f"failed: {request.url[:200]}"))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto((HTML / page).as_uri(), wait_until="load")

    if tab.locator("div.math, span.math").count():
        tab.wait_for_function("() => window.MathJax && window.MathJax.startup && window.MathJax.startup.promise")
        tab.evaluate("() => window.MathJax.startup.promise")
        unset = tab.evaluate(
            """() => [...document.querySelectorAll("div.math, span.math")]
                     .filter(e => !e.querySelector("mjx-container") || e.querySelector("[data-mjx-error], mjx-merror"))
                     .map(e => e.textContent.slice(0, 80))"""
        )
        assert not unset, "formulas that are not set"

    views = tab.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
    if views:
        shown = "n => document.querySelectorAll('.widget-subarea .jupyter-widgets').length >= n"
        tab.wait_for_function(shown, arg=views)
    tab.wait_for_timeout(SECONDS)  # what comes late, such as a second rendering, would come now
    if views:
        assert tab.locator(".widget-subarea").count() == views, "each widget must be shown once"
        problems += stuck_sliders(tab)

    undescribed = tab.evaluate(
        r"""() => [...document.querySelectorAll("img, svg[role=img]:not(.svg-inline--fa)")]
                  .filter(e => !e.closest("mjx-container"))
                  .map(e => e.getAttribute("alt") || e.getAttribute("aria-label") || "nothing.png")
                  .filter(text => /\.(png|svg|jpe?g|gif)$/i.test(text))"""  # Sphinx describes by the file's name
    )
    context.close()
    assert not undescribed, "pictures without a description"
    if sys.version_info < (3, 11):  # its older theme preloads fonts in a way that a page from the disk may not
        problems = [problem for problem in problems if "/_static/vendor/fontawesome/" not in problem]
    assert not problems, "errors in the page"
    assert [url[:200] for url in requests if not url.startswith(LOCAL)] == [], "requests to other hosts"


def stuck_sliders(tab):
    """Names of sliders that change nothing in their widget when they move."""
    look = """area => [...area.querySelectorAll("img, .widget-html-content")]
                      .filter(e => e.offsetParent !== null).map(e => e.src || e.innerText).join(" ")"""
    stuck = []
    for area in tab.locator(".widget-subarea").all():
        for index, handle in enumerate(area.locator(".noUi-handle").all()):
            before = area.evaluate(look)
            at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
            handle.focus()
            handle.press("ArrowLeft" if at_end else "ArrowRight")
            tab.wait_for_timeout(300)
            if area.evaluate(look) == before:
                stuck.append(f"slider {index + 1} of a widget changes nothing: {before[:80]!r}")
    return stuck


@pytest.mark.parametrize("page", built_pages())
def test_internal_links_resolve(page):
    """Every link inside the book leads to a file that is there, and to a place that is in it."""
    here = HTML / page
    broken = []
    for target in Links(here.read_text(encoding="utf-8")).targets:
        url = urllib.parse.urlsplit(target)
        if url.scheme or url.netloc or not (url.path or url.fragment):
            continue
        file = (here.parent / urllib.parse.unquote(url.path)).resolve() if url.path else here
        known = file.exists() and (
            not url.fragment
            or file.suffix != ".html"
            or urllib.parse.unquote(url.fragment) in Links(file.read_text(encoding="utf-8")).names
        )
        if not known:
            broken.append(target)
    assert broken == []


CHAPTERS = [page for page in built_pages() if page.startswith("chapters/0")]


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
    assert all(re.findall(linked, text, re.DOTALL))


def test_index_lists_the_terms_and_where_they_are_used():
    """Each name in the glossary leads there, and below most terms stand the pages that mention them."""
    index = (HTML / "genindex.html").read_text(encoding="utf-8")
    names = re.findall(r'<dt id="(term-[^"]+)"', (HTML / "chapters" / "glossary.html").read_text(encoding="utf-8"))
    assert len(names) > 60
    assert [name for name in names if f'<a href="chapters/glossary.html#{name}"><strong>' not in index] == []
    assert len(set(re.findall(r'<a href="chapters/\w+\.html#(mention-[^"]+)">', index))) > 40
