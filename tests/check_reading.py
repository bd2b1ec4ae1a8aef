"""Whether the built book is readable for all: either theme, by keyboard or screen reader, on a phone, on a slow line.

`make check` runs this file after ``check_built_book.py``, whose pages it opens again. What axe-core, the usual judge of
accessibility, calls serious or critical must not be there.
"""

import importlib.util
import sys
import urllib.parse
from pathlib import Path

import pytest
from built_book import HTML, SECONDS, STILL, built_pages, new_tab, open_page, show_answers

AXE = Path(importlib.util.find_spec("axe_playwright_python").origin).with_name("axe.min.js").read_text(encoding="utf-8")
PHONE = 390
HEAVY = 250_000  # bytes of a script for which no reader should wait, such as MathJax or the widgets
PAINTED = "() => performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)[0]"
BEFORE_TEXT = 100_000  # bytes of a page that may stand before its first paragraph
PAGES = [page for page in built_pages() if page != "index.html"]  # that one only leads to intro.html
WITH_TEXT = [page for page in PAGES if page not in ("genindex.html", "py-modindex.html", "search.html")]
CHAPTERS = [page for page in PAGES if page.startswith("chapters/0")]

pytestmark = pytest.mark.browser


def unfold(tab):
    """Open all answers, all that the choices of a question say, and all solutions."""
    show_answers(tab)
    tab.locator("details").evaluate_all("all => all.forEach(e => { e.removeAttribute('name'); e.open = true })")
    tab.wait_for_timeout(500)  # scripts see to what has become visible


def violations(tab, *rules, within="html"):
    """What axe-core finds by all its rules, or by some: rule, impact, help, and the first places."""
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}; {len(rule['nodes'])} times, e.g. "
        + "; ".join(f"{node['target']} {node['failureSummary']}" for node in rule["nodes"][:3])
        for rule in tab.evaluate("([within, options]) => axe.run(within, options)", [within, options])["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("page", PAGES)
def test_page_is_accessible(browser, page):
    """In the light theme and in the dark one, which differs in its colours, with all unfolded; first the forms."""
    with new_tab(browser) as tab:
        open_page(tab, HTML / page)
        tab.evaluate(AXE)
        if forms := tab.locator("fieldset.commit").count():
            assert violations(tab, within="fieldset.commit") == [], f"{forms} questions before they are answered"
        unfold(tab)
        assert violations(tab) == [], "light theme"
        tab.emulate_media(color_scheme="dark")
        tab.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
        tab.wait_for_timeout(300)  # colours fade
        assert violations(tab, "color-contrast") == [], "dark theme"


def test_there_are_pages():
    assert CHAPTERS and len(WITH_TEXT) > len(CHAPTERS), f"there is no book in {HTML}; run `make book` first"


@pytest.mark.parametrize("page", ["intro.html", *CHAPTERS])
def test_figures_take_the_theme(browser, page):
    """In the dark every figure is turned round, panes too, but for those whose lightness a colour bar explains."""
    with new_tab(browser) as tab:
        open_page(tab, HTML / page)
        look = "all => all.map(e => [e.classList.contains('map'), getComputedStyle(e).filter.includes('invert(1)')])"
        figures = tab.locator("article img.drawing")
        assert figures.count() == tab.locator("article img").count() > 0
        assert not any(turned for _, turned in figures.evaluate_all(look))
        tab.emulate_media(color_scheme="dark")
        tab.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
        assert all(turned != is_map for is_map, turned in figures.evaluate_all(look))
        for elsewhere in ({"forced_colors": "active"}, {"media": "print"}):
            tab.emulate_media(color_scheme="dark", **elsewhere)
            assert not any(turned for _, turned in figures.evaluate_all(look)), elsewhere


@pytest.mark.parametrize("page", PAGES)
def test_page_fits_a_phone(browser, page):
    """Nothing makes the page scroll sideways; what scrolls within itself can be reached by keyboard."""
    with new_tab(browser, PHONE) as tab:
        open_page(tab, HTML / page)
        tab.evaluate(AXE)
        assert tab.evaluate("() => document.scrollingElement.scrollWidth") <= PHONE, "as it opens"
        unfold(tab)
        wide = tab.locator("article *").evaluate_all(
            """all => all.filter(e => e.getBoundingClientRect().right > innerWidth)
                         .filter(e => !e.closest("pre, mjx-container"))
                         .filter(e => !e.closest(".pst-scrollable-table-container"))
                         .map(e => e.outerHTML.slice(0, 200))"""
        )
        assert wide == []
        assert tab.evaluate("() => document.scrollingElement.scrollWidth") <= PHONE
        figures = tab.locator("article img.drawing:visible")
        look = "all => all.map(e => [e.getBoundingClientRect().right, e.naturalWidth, Boolean(e.closest('picture'))])"
        for right, width, has_other in figures.evaluate_all(look):
            assert right <= PHONE and has_other and width < 800, "a picture drawn for narrow windows"
        assert violations(tab, "scrollable-region-focusable") == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_widgets_have_pictures_without_scripts(browser, page):
    """One each, described; with scripts the widgets take their place."""
    with new_tab(browser) as tab:
        widgets = open_page(tab, HTML / page)
        assert tab.locator("article img.still:visible").count() == 0
        assert (widgets > 0) == (page != STILL)
    with new_tab(browser, java_script_enabled=False) as tab:
        tab.goto((HTML / page).as_uri())
        for answer in tab.locator("details.answer > summary").all():
            answer.click()
        assert tab.locator("article img.still[alt]:visible").count() == widgets


@pytest.mark.parametrize("page", WITH_TEXT)
def test_text_waits_for_nothing(browser, page):
    """The text is there while heavy scripts are still on their way."""

    def hold(route):
        path = Path(urllib.parse.unquote(urllib.parse.urlsplit(route.request.url).path))
        icons = sys.version_info < (3, 11) and "fontawesome" in path.parts  # its older theme waits for them
        if icons or path.stat().st_size < HEAVY:
            route.continue_()

    text = (HTML / page).read_text(encoding="utf-8")
    assert len(text[: text.index("<p", text.index("<h1", text.index("<article")))].encode()) < BEFORE_TEXT
    with new_tab(browser) as tab:
        tab.route("**/*.js*", hold)
        tab.goto((HTML / page).as_uri(), wait_until="commit")
        tab.locator("article h1").wait_for()
        tab.locator("article p").first.wait_for()
        tab.wait_for_function(PAINTED)


def test_first_paint(browser, capsys):
    """Says when readers see something; only a machine that does nothing else could judge it."""
    seconds = {}
    for page in WITH_TEXT:
        with new_tab(browser) as tab:
            tab.goto((HTML / page).as_uri(), wait_until="load")
            seconds[page] = tab.wait_for_function(PAINTED).json_value() / SECONDS
    slowest = max(seconds, key=seconds.get)
    with capsys.disabled():
        print(f"\nFirst paint after {min(seconds.values()):.2f} to {seconds[slowest]:.2f} s ({slowest}).")
    assert seconds[slowest] < 5, "on any machine a page from the disk is there by then"


@pytest.mark.parametrize("page", CHAPTERS)
@pytest.mark.parametrize("scripts", [True, False])
def test_folds_open(browser, page, scripts):
    """By mouse and by keyboard, and they are larger when open: solutions, and without scripts also answers, choices."""
    with new_tab(browser, java_script_enabled=scripts) as tab:
        if scripts:
            open_page(tab, HTML / page)
            show_answers(tab)
        else:
            tab.goto((HTML / page).as_uri())
        folds = tab.locator("article details:not(.answer, .choice)" if scripts else "article details")
        assert folds.count() >= 4
        for fold in folds.all():
            summary = fold.locator("> summary")
            for key in (None, "Enter", "Space"):
                was_open, height = fold.evaluate("e => [e.open, e.clientHeight]")
                summary.press(key) if key else summary.click()
                is_open, now = fold.evaluate("e => [e.open, e.clientHeight]")
                assert is_open != was_open and (now > height) == is_open, (key, summary.inner_text())


@pytest.mark.parametrize("page", CHAPTERS)
def test_questions_answer(browser, page):
    """Each question has one right answer; the one that is chosen shows, by a sign too, whether it is right."""
    with new_tab(browser) as tab:
        open_page(tab, HTML / page)
        choices = tab.locator("article details.choice")
        names = choices.evaluate_all("all => all.map(e => e.getAttribute('name'))")
        assert 2 <= len({name for name in names if name.startswith("check-")}) <= 3
        for name in sorted(set(names)):
            answers = tab.locator(f'details.choice[name="{name}"]')
            right = answers.evaluate_all("all => all.map(e => e.classList.contains('right'))")
            assert len(right) > 1 and sum(right) == 1, name
            form = tab.locator(f'fieldset.commit:has([name$="{name}"])')
            for chosen, answer in enumerate(answers.all()):
                assert not any(each.is_visible() for each in answers.all())
                form.get_by_role("radio").nth(chosen).check()
                form.get_by_role("button").click()
                assert answers.evaluate_all("all => all.map(e => e.open)") == [i == chosen for i in range(len(right))]
                assert answer.evaluate("e => e.innerText.trim() !== e.firstChild.innerText.trim()"), "no feedback"
                sign = answer.locator("> summary").evaluate("e => getComputedStyle(e, '::before').content")
                assert ("✓" if right[chosen] else "✗") in sign, (name, sign)
                answers.last.locator("+ p.chosen").get_by_role("button", name="Choose again").click()
