"""Whether readers find the book and find their way in it: search, link previews, citations, definitions, sources.

`make check` runs this file after ``check_built_book.py`` on the same built book.
"""

import functools
import http.server
import re
import threading
from contextlib import contextmanager

import pytest
from built_book import HTML, built_pages, new_tab, open_page
from check_reading import AXE, PHONE, violations

PAGES = [
    page for page in built_pages() if page not in ("index.html", "genindex.html", "py-modindex.html", "search.html")
]
CHAPTERS = [page for page in PAGES if page.startswith("chapters/0")]
REFERENCE = [page for page in PAGES if page.startswith(("chapters/library/", "chapters/book/", "chapters/api"))]
TALL = 25_000  # pixels of a page of the reference, at most: the first edition's one page had 59,874
SOURCES = ["_modules/lotterylib/imp.html", "_modules/lotterybook/tickets/experiments.html"]

pytestmark = pytest.mark.browser


@contextmanager
def served():
    """The address of the built book on a server of this machine: only from one does a search show lines of pages."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=HTML)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def search(tab, base, words):
    """Where the results of a search lead, in their order."""
    tab.goto(f"{base}/search.html?q={words.replace(' ', '+')}")
    tab.wait_for_function("() => /found/i.test(document.querySelector('.search-summary')?.textContent || '')")
    return tab.locator("ul.search li > a").evaluate_all("all => all.map(e => e.getAttribute('href'))")


@pytest.mark.parametrize("words", ["lottery ticket", "rewind", "error barrier"])
def test_a_search_lists_a_chapter_first(browser, words):
    with new_tab(browser) as tab:
        found = search(tab, HTML.as_uri(), words)
        assert found[0].startswith("chapters/0") and len(found) > 5, found[:5]


def test_a_search_still_finds_a_function(browser):
    with new_tab(browser) as tab:
        assert any("library/landscape.html#" in link for link in search(tab, HTML.as_uri(), "error_barrier")[:3])


def test_what_a_search_shows_of_pages_holds_no_latex(browser):
    with new_tab(browser) as tab, served() as base:
        for words in ("barrier", "replicate", "hessian"):
            search(tab, base, words)
            tab.wait_for_function("() => document.querySelectorAll('ul.search .context').length > 5")
            shown = "\n".join(tab.locator("ul.search .context").all_inner_texts())
            assert not re.search(r"\\[a-zA-Z(\[]|\$", shown), shown


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_it_is(page):
    """A description of its own, what link previews show, and, of chapters and book, what reference managers read."""
    text = (HTML / page).read_text(encoding="utf-8")
    tags = dict(re.findall(r'<meta (?:name|property)="([\w:]+)" content="([^"]*)" />', text))
    assert 20 < len(tags["description"]) <= 200 and not re.search(r"\\|\$", tags["description"])
    assert tags["og:description"] == tags["description"] and tags["og:title"] and tags["og:site_name"]
    if page == "intro.html" or page in CHAPTERS:
        assert tags["citation_title"] and tags["citation_author"] and tags["citation_publication_date"].isdigit()
    assert ("citation_inbook_title" in tags) == (page in CHAPTERS)


def test_descriptions_differ():
    found = [re.search(r'name="description" content="([^"]*)"', (HTML / page).read_text())[1] for page in CHAPTERS]
    assert len(set(found)) == len(CHAPTERS)


def test_the_landing_page_names_authors_and_says_how_to_cite():
    text = (HTML / "intro.html").read_text(encoding="utf-8")
    assert re.search(r'</h1>\s*<p class="authors">By \w.*?</p>', text), "the line below the title"
    cite = text.partition("Cite this book<")[2]
    assert "@book" in re.sub("<.*?>", "", cite) and "<!-- cite" not in text


@pytest.mark.parametrize("page", PAGES)
def test_mathjax_is_loaded_where_there_is_a_formula(page):
    text = (HTML / page).read_text(encoding="utf-8")
    assert ("tex-svg" in text) == ('class="math' in text)


@pytest.mark.parametrize("page", REFERENCE)
def test_no_page_of_the_reference_is_endless(browser, page):
    with new_tab(browser) as tab:
        tab.goto((HTML / page).as_uri())
        assert tab.evaluate("() => document.scrollingElement.scrollHeight") < TALL


def test_functions_link_to_their_source():
    text = (HTML / "chapters" / "library" / "imp.html").read_text(encoding="utf-8")
    links = re.findall(r'href="../../(_modules/lotterylib/imp.html)#([\w.]+)"', text)
    assert {"run", "Config"} <= {name for _, name in links}
    source = (HTML / links[0][0]).read_text(encoding="utf-8")
    assert all(f'id="{name}"' in source for _, name in links)


@pytest.mark.parametrize("page", SOURCES)
def test_a_source_is_readable(browser, page):
    with new_tab(browser, PHONE) as tab:
        open_page(tab, HTML / page)
        assert tab.evaluate("() => document.scrollingElement.scrollWidth") <= PHONE
        tab.evaluate(AXE)
        assert violations(tab) == []
        tab.emulate_media(color_scheme="dark")
        tab.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
        tab.wait_for_timeout(300)
        assert violations(tab, "color-contrast") == []


def test_a_term_shows_its_definition_by_mouse_and_keyboard(browser):
    with new_tab(browser) as tab:
        open_page(tab, HTML / CHAPTERS[0])
        link, box = tab.locator("article a.term").first, tab.locator("#definition")
        assert box.is_hidden()
        for show in (link.hover, link.focus):
            show()
            assert box.is_visible() and box.inner_text() == link.get_attribute("data-definition")
            assert link.get_attribute("aria-describedby") == "definition"
            tab.keyboard.press("Escape")
            assert box.is_hidden() and link.get_attribute("aria-describedby") is None
            tab.mouse.move(0, 0)
        tab.evaluate(AXE)
        link.focus()
        assert violations(tab) == []


def test_a_tap_shows_a_definition_and_the_next_one_follows_it(browser):
    with new_tab(browser, PHONE, has_touch=True, is_mobile=True) as tab:
        open_page(tab, HTML / CHAPTERS[0])
        at, box = tab.url, tab.locator("#definition")
        for link in tab.locator("article a.term").all()[:4]:
            link.tap()
            place = box.bounding_box()
            assert tab.url == at and place["x"] >= 0 and place["x"] + place["width"] <= PHONE
            box.tap()
            assert box.is_hidden()
        link.tap()
        link.tap()
        tab.wait_for_url("**/glossary.html#term-*")


def test_folds_open_for_paper_and_close_again(browser):
    with new_tab(browser) as tab:
        open_page(tab, HTML / CHAPTERS[1])
        tab.locator("article details").last.evaluate("e => e.open = true")  # one was open already
        look = "() => [...document.querySelectorAll('details')].map(e => [e.open, e.getAttribute('name')])"
        before = tab.evaluate(look)
        tab.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
        assert all(is_open for is_open, _ in tab.evaluate(look))
        tab.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
        assert tab.evaluate(look) == before


def test_formulas_have_no_outlines_on_paper(browser):
    with new_tab(browser) as tab:
        open_page(tab, HTML / CHAPTERS[0])
        tab.emulate_media(media="print")
        strokes = tab.locator("mjx-container svg g").evaluate_all("all => all.map(e => getComputedStyle(e).stroke)")
        assert strokes and set(strokes) == {"none"}
