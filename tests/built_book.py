"""The built book and the browser that opens it, for all ``check_*.py``."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

HTML = Path(__file__).resolve().parent.parent / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 1000  # the browser counts in milliseconds
STILL = "chapters/08_what_a_mask_says.html"  # the chapter with one drawing: nothing moves, no formula


def built_pages():
    """Paths of all pages, relative to the built book, but those that show sources (``check_finding.py`` opens some)."""
    skipped = ("_static", "_sources", "_modules", "vendor")
    pages = (page.relative_to(HTML) for page in HTML.rglob("*.html"))
    return sorted(page.as_posix() for page in pages if page.parts[0] not in skipped)


def find_chromium():
    """Path of the browser, or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def chromium():
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    assert path, f"no browser found as {', '.join(BROWSERS)}; install Chromium or set CHROMIUM to its path"
    with sync_playwright() as play, play.chromium.launch(executable_path=path, args=list(FLAGS)) as running:
        yield running


@contextmanager
def new_tab(browser, width=1280, **options):
    """An empty tab of a fresh profile, which prefers the light theme."""
    size = {"width": width, "height": 900}
    with browser.new_context(viewport=size, color_scheme="light", **options) as context:
        tab = context.new_page()
        tab.set_default_timeout(60 * SECONDS)
        yield tab


def open_page(tab, path):
    """Open a page and wait until its formulas are set and its widgets shown; return how many widgets it has."""
    tab.goto(path.as_uri(), wait_until="load")
    if tab.locator("div.math, span.math").count():
        tab.wait_for_function("() => window.MathJax && window.MathJax.startup && window.MathJax.startup.promise")
        tab.evaluate("() => window.MathJax.startup.promise")
    widgets = tab.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
    shown = "n => document.querySelectorAll('.widget-subarea .jupyter-widgets').length >= n"
    tab.wait_for_function(shown, arg=widgets)
    return widgets


def show_answers(tab):
    """Turn on the page's switch that unfolds all answers; without one there are none."""
    for switch in tab.get_by_role("switch", name="Show all answers").all():
        switch.press("Enter")
        assert switch.get_attribute("aria-checked") == "true"
