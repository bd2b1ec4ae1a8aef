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
from built_book import HTML, SECONDS, STILL, built_pages, new_tab, open_page, show_answers

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
        show_answers(tab)
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


@pytest.mark.parametrize("page", [page for page in built_pages() if page != "index.html"])  # which only leads on
def test_page_has_its_policy(page):
    """That it is obeyed is seen where the page opens: what it refuses is an error."""
    text = (HTML / page).read_text(encoding="utf-8")
    (policy,) = re.findall('<meta http-equiv="Content-Security-Policy" content="(.*?)" />', text)
    assert text.index(policy) < text.index("<script") and "default-src 'self'" in policy and "://" not in policy
    scripts = re.search("script-src ([^;]*)", policy)[1]
    assert "'unsafe-inline'" not in scripts and ("'unsafe-eval'" in scripts) == ("vendor/embed.js" in text)


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
MOVING = [page for page in CHAPTERS if page != STILL]


@pytest.mark.parametrize("page", MOVING)
def test_chapter_has_something_to_move(page):
    """A figure with a slider or buttons; that they change it is seen where the page opens."""
    assert "application/vnd.jupyter.widget-view+json" in (HTML / page).read_text(encoding="utf-8")


def readable(tab):
    """How many characters can be read of the answers of a page, and of what its choices say."""
    return tab.evaluate(
        """() => [...document.querySelectorAll("article :is(details.answer, details.choice) > :not(summary)")]
                 .filter(e => e.checkVisibility()).map(e => e.textContent).join("").length"""
    )


def eventually(tab, look, wanted):
    """What ``look()`` gives once it is what is wanted, or after five seconds: a page hears of print a moment later."""
    for _ in range(50):
        if (seen := look()) == wanted:
            break
        tab.wait_for_timeout(100)
    return seen


@pytest.mark.parametrize("page", CHAPTERS)
def test_answers_wait_for_a_choice(browser, page):
    """By keyboard alone: none shows before, its own after, beside what was chosen, which a reload does not lose."""
    with new_tab(browser) as tab:
        open_page(tab, HTML / page)
        forms, shown = tab.locator("article fieldset.commit"), 0
        text = (HTML / page).read_text(encoding="utf-8")
        checks = set(re.findall(r'<details class="choice[^>]*name="(check-[^"]+)"', text))
        assert forms.count() == text.count('<p class="prediction"') + len(checks)
        assert readable(tab) == 0
        for form in forms.all():
            first, button = form.locator("input").first, form.get_by_role("button")
            first.focus()
            if first.get_attribute("type") == "radio":
                assert button.is_disabled()
                tab.keyboard.press("Space")
            else:
                tab.keyboard.type("as at the ends")
            tab.keyboard.press("Tab")
            tab.keyboard.press("Enter")
            assert not form.is_visible() and readable(tab) > shown
            assert tab.evaluate("() => document.activeElement.matches('summary')")
            shown = readable(tab)
        told = tab.locator("article p.chosen")
        assert all(text.startswith(("You chose: “", "You predicted: “as at")) for text in told.all_inner_texts())
        open_page(tab, HTML / page)
        assert told.count() == forms.count() and readable(tab) == shown
        for again in told.get_by_role("button", name="Choose again").all()[::-1]:
            again.press("Enter")
        assert readable(tab) == 0 and forms.first.is_visible()


def test_one_switch_shows_the_answers_of_all_pages(browser):
    with new_tab(browser) as tab:
        for page in CHAPTERS[:2]:
            open_page(tab, HTML / page)
            assert readable(tab) == 0
        show_answers(tab)
        for page in CHAPTERS:
            open_page(tab, HTML / page)
            assert tab.locator("article :is(details.answer, details.choice):not([open])").count() == 0 < readable(tab)
            assert not tab.locator("article fieldset.commit").first.is_visible()
        tab.get_by_role("switch").press("Space")
        assert readable(tab) == 0


@pytest.mark.parametrize("page", ["intro.html", *CHAPTERS])
@pytest.mark.parametrize("scripts", [True, False])
def test_paper_shows_choices_and_answers(browser, page, scripts):
    """And solutions; nothing is left to press, and nothing fades in, which would be printed before it had begun."""
    with new_tab(browser, java_script_enabled=scripts) as tab:
        tab.goto((HTML / page).as_uri())
        tab.emulate_media(media="print")
        hidden = "all => all.filter(e => !e.checkVisibility()).map(e => e.outerHTML.slice(0, 100))"
        assert eventually(tab, lambda: tab.locator("article details > *").evaluate_all(hidden), []) == []
        fading = "all => all.filter(e => getComputedStyle(e).animationName !== 'none').length"
        assert tab.locator("article details > summary ~ *").evaluate_all(fading) == 0
        controls = tab.locator("article :is(fieldset.commit, p.chosen button, .all-answers, .explorable > .view)")
        assert not any(control.is_visible() for control in controls.all())
        tab.emulate_media(media="screen")
        assert eventually(tab, lambda: readable(tab), 0) == 0


def test_the_landscape_can_be_played_with(browser):
    """By keyboard: early rewinding fails, late rewinding wins; the text says it, the drawing shows it, all is here."""
    with new_tab(browser) as tab:
        requests = []
        tab.on("request", lambda request: requests.append(request.url))
        open_page(tab, HTML / "intro.html")
        part = tab.locator("div.explorable")
        told, slider, pictures = part.get_by_role("status"), part.get_by_role("slider"), set()
        for key, outcome in (("ArrowLeft", "it fails"), ("End", "it wins")):
            slider.press(key)
            tab.keyboard.press("Tab")
            tab.keyboard.press("Enter")
            told.filter(has_text=outcome).wait_for()
            pictures |= set(part.locator("canvas").evaluate_all("all => all.map(e => e.toDataURL())"))
        assert told.inner_text().endswith("Tried so far: fails from 7; wins from 60.") and len(pictures) == 4
        part.get_by_role("button", name="Walk").press("Enter")
        tab.wait_for_timeout(SECONDS / 2)
        part.get_by_role("button", name="Reset").press("Enter")
        assert slider.input_value() == "8" and "Tried" not in told.inner_text()
        assert [url for url in requests if not url.startswith(LOCAL)] == []


def test_the_landscape_moves_at_once_for_who_wants_no_motion_and_is_a_picture_elsewhere(browser):
    with new_tab(browser, reduced_motion="reduce") as tab:
        open_page(tab, HTML / "intro.html")
        part = tab.locator("div.explorable")
        part.get_by_role("button", name="Prune").press("Enter")
        assert "it fails" in part.get_by_role("status").inner_text()
        assert part.locator("canvas").first.is_visible() and not part.locator("img").is_visible()
        tab.emulate_media(media="print")
        assert part.locator("img").is_visible() and not part.locator("canvas").first.is_visible()
    with new_tab(browser, java_script_enabled=False) as tab:
        tab.goto((HTML / "intro.html").as_uri())
        assert tab.locator("div.explorable img").is_visible()


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
    assert formulas or "retraining" in page or page == STILL  # the two chapters without


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


@pytest.mark.parametrize("page", MOVING)
def test_the_picture_offered_is_that_of_the_pane_shown(browser, page):
    with new_tab(browser) as tab:
        open_page(tab, HTML / page)
        show_answers(tab)
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
