"""Whether the built book is readable for all: either theme, by keyboard or screen reader, on a phone, on a slow line.

`make check` runs this file after ``check_built_book.py``, whose pages it opens again. What axe-core, the usual judge of
accessibility, calls serious or critical must not be there.
"""

import importlib.util
import sys
import urllib.parse
from pathlib import Path

import pytest
from built_book import HTML, built_pages, new_tab, open_page

AXE = Path(importlib.util.find_spec("axe_playwright_python").origin).with_name("axe.min.js").read_text(encoding="utf-8")
PHONE = 390
HEAVY = 250_000  # bytes of a script for which no reader should wait, such as MathJax or the widgets
BEFORE_TEXT = 100_000  # bytes of a page that may stand before its first paragraph
PAGES = [page for page in built_pages() if page != "index.html"]  # that one only leads to intro.html
WITH_TEXT = [page for page in PAGES if page not in ("genindex.html", "py-modindex.html", "search.html")]
WITH_FOLDS = [page for page in PAGES if "<details" in (HTML / page).read_text(encoding="utf-8")]

pytestmark = pytest.mark.browser


def unfold(tab):
    """Open all solutions, and all answers of a question at once."""
    tab.locator("details").evaluate_all("all => all.forEach(e => { e.removeAttribute('name'); e.open = true })")
    tab.wait_for_timeout(500)  # scripts see to what has become visible


def violations(tab, *rules):
    """What axe-core finds by all its rules, or by some: rule, impact, help, and the first places."""
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}; {len(rule['nodes'])} times, e.g. "
        + "; ".join(f"{node['target']} {node['failureSummary']}" for node in rule["nodes"][:3])
        for rule in tab.evaluate("options => axe.run(document, options)", options)["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("page", PAGES)
def test_page_is_accessible(browser, page):
    """In the light theme and in the dark one, which differs in its colours, with everything unfolded."""
    with new_tab(browser) as tab:
        open_page(tab, HTML / page)
        tab.evaluate(AXE)
        unfold(tab)
        assert violations(tab) == [], "light theme"
        tab.emulate_media(color_scheme="dark")
        tab.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
        tab.wait_for_timeout(300)  # colours fade
        assert violations(tab, "color-contrast") == [], "dark theme"


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("chapters/0")])
def test_figures_take_the_theme(browser, page):
    """In the dark every figure is turned round, panes too, but for those whose lightness a colour bar explains."""
    with new_tab(browser) as tab:
        open_page(tab, HTML / page)
        look = "all => all.map(e => [e.classList.contains('map'), getComputedStyle(e).filter.includes('invert(1)')])"
        figures = tab.locator("article img.drawing")
        assert figures.count() == tab.locator("article div.cell_output img").count() > 0
        assert not any(turned for _, turned in figures.evaluate_all(look))
        tab.emulate_media(color_scheme="dark")
        tab.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
        assert all(turned != is_map for is_map, turned in figures.evaluate_all(look))


@pytest.mark.parametrize("page", PAGES)
def test_page_fits_a_phone(browser, page):
    """Nothing makes the page scroll sideways; what scrolls within itself can be reached by keyboard."""
    with new_tab(browser, PHONE) as tab:
        open_page(tab, HTML / page)
        tab.evaluate(AXE)
        unfold(tab)
        wide = tab.locator("article *").evaluate_all(
            """all => all.filter(e => e.getBoundingClientRect().right > innerWidth)
                         .filter(e => !e.closest("pre, mjx-container, div.cell_output"))
                         .filter(e => !e.closest(".pst-scrollable-table-container"))
                         .map(e => e.outerHTML.slice(0, 200))"""
        )
        assert wide == []
        assert tab.evaluate("() => document.scrollingElement.scrollWidth") <= PHONE
        assert violations(tab, "scrollable-region-focusable") == []


@pytest.mark.parametrize("page", WITH_TEXT)
def test_text_waits_for_nothing(browser, page):
    """The text is there while heavy scripts are still on their way. Prints how long the first paint takes with them."""

    def hold(route):
        path = Path(urllib.parse.unquote(urllib.parse.urlsplit(route.request.url).path))
        icons = sys.version_info < (3, 11) and "fontawesome" in path.parts  # its older theme waits for them
        if icons or path.stat().st_size < HEAVY:
            route.continue_()

    text = (HTML / page).read_text(encoding="utf-8")
    assert len(text[: text.index("<p", text.index("<h1", text.index("<article")))].encode()) < BEFORE_TEXT
    painted = "() => performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)[0]"
    with new_tab(browser) as tab:
        tab.goto((HTML / page).as_uri(), wait_until="load")
        print(f"\n{page}: first paint after {tab.wait_for_function(painted).json_value():.0f} ms")
    with new_tab(browser) as tab:
        tab.route("**/*.js*", hold)
        tab.goto((HTML / page).as_uri(), wait_until="commit")
        tab.locator("article h1").wait_for()
        tab.locator("article p").first.wait_for()
        tab.wait_for_function(painted)


@pytest.mark.parametrize("page", WITH_FOLDS)
def test_folds_open(browser, page):
    """Solutions and answers open and close by mouse and by keyboard, and are larger when open."""
    with new_tab(browser) as tab:
        open_page(tab, HTML / page)
        for fold in tab.locator("article details").all():
            summary = fold.locator("> summary")
            for key in (None, "Enter", "Space"):
                was_open, height = fold.evaluate("e => [e.open, e.clientHeight]")
                summary.press(key) if key else summary.click()
                is_open, now = fold.evaluate("e => [e.open, e.clientHeight]")
                assert is_open != was_open and (now > height) == is_open, (key, summary.inner_text())


@pytest.mark.parametrize("page", WITH_FOLDS)
def test_questions_answer(browser, page):
    """Each question has one right answer; the one that is chosen shows, by a sign too, whether it is right."""
    with new_tab(browser) as tab:
        open_page(tab, HTML / page)
        choices = tab.locator("article details.choice")
        for name in sorted(set(choices.evaluate_all("all => all.map(e => e.getAttribute('name'))"))):
            answers = tab.locator(f'details.choice[name="{name}"]')
            right = answers.evaluate_all("all => all.map(e => e.classList.contains('right'))")
            assert len(right) > 1 and sum(right) == 1, name
            for chosen, answer in enumerate(answers.all()):
                answer.locator("> summary").click()
                assert answers.evaluate_all("all => all.map(e => e.open)") == [i == chosen for i in range(len(right))]
                assert answer.evaluate("e => e.innerText.trim() !== e.firstChild.innerText.trim()"), "no feedback"
                sign = answer.locator("> summary").evaluate("e => getComputedStyle(e, '::before').content")
                assert ("✓" if right[chosen] else "✗") in sign, (name, sign)
