"""Sphinx extension: a content-security policy in every page, so that nothing runs but what theme and book bring.

A page loads from its own place alone. Of the scripts inside it those of the theme's templates run, by their hashes;
its text, which holds what records and cells say, is left out when these are taken, so a script there never runs.
Scripts of a data type, such as the state of widgets, are not run by any browser and need none.
"""

import base64
import hashlib
import html
import re

from sphinx.errors import ExtensionError

SCRIPT = re.compile(r"<script(?![^>]*\b(?:src|type)=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
HANDLER = re.compile(r'\son\w+="([^"]*)"', re.IGNORECASE)
CHARSET = re.compile(r"<meta charset=[^>]*>", re.IGNORECASE)  # which must stand in a page's first 1,024 bytes


def policy(frame) -> str:
    """The policy of a page, from its HTML without its text."""
    inline = [*SCRIPT.findall(frame), *map(html.unescape, HANDLER.findall(frame))]
    hashes = dict.fromkeys(base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in inline)
    scripts = ["'self'", "'unsafe-hashes'", *(f"'sha256-{each}'" for each in hashes)]
    scripts += ["'unsafe-eval'"] * ("vendor/embed.js" in frame)  # which compiles what checks a widget's state
    rules = {
        "default-src": "'self'",
        "script-src": " ".join(scripts),
        "style-src": "'self' 'unsafe-inline'",  # MathJax, widgets and the theme's icons write styles while they run
        "img-src": "'self' data:",  # marks in the theme's stylesheets
        "font-src": "'self' data:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
    }
    return "; ".join(f"{name} {allowed}" for name, allowed in rules.items())


def protected(page, text) -> str:
    """A page with its policy; ``text`` is the part of it that is not the theme's."""
    if text not in page:
        raise ExtensionError("the theme changes a page's text, so its scripts cannot be told from those of the text")
    tag = f'<meta http-equiv="Content-Security-Policy" content="{policy(page.replace(text, ""))}" />'
    return CHARSET.sub(lambda charset: f"{charset[0]}\n    {tag}", page, count=1)


def protect(app):
    """Let the builder of the book's pages put the policy into each that it renders."""
    if app.builder.name != "html":
        return
    render = app.builder.templates.render

    def rendered(template, context):
        page = render(template, context)
        return protected(page, context.get("body", "")) if CHARSET.search(page) else page  # parts of pages have none

    app.builder.templates.render = rendered


def setup(app):
    """Templates are there once the builder is."""
    app.connect("builder-inited", protect)
    return {"parallel_read_safe": True}
