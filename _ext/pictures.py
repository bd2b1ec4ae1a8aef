"""Sphinx extension: figures reach the built page with their alternative text, with another picture for narrow windows,
and with a picture of each widget."""

import base64
import hashlib
import posixpath
import re
import sys
import urllib.parse
from pathlib import Path

from docutils import nodes
from myst_nb.core.render import WIDGET_VIEW_MIMETYPE, NbElementRenderer
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # lotterybook is not installed

from lotterybook.captions import NARROW  # noqa: E402

STATE = "application/vnd.jupyter.widget-state+json"
INLINE = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")


class narrow_image(nodes.image):
    """The picture for narrow windows of the image that follows it."""


class FindNarrow(SphinxTransform):
    """Gives a drawing on a page of Markdown, ``name.png``, the picture ``name.narrow.png`` that lies beside it."""

    default_priority = 300

    def apply(self):
        for image in list(self.document.findall(nodes.image)):
            beside = image["uri"].removesuffix(".png") + ".narrow.png"
            if "drawing" in image["classes"] and Path(self.env.relfn2path(beside, self.env.docname)[1]).exists():
                image.parent.insert(image.parent.index(image), narrow_image(uri=beside))


class KeepStill(SphinxPostTransform):
    """Before a widget put the picture that its output carries, for readers without scripts and until they have run."""

    default_priority = 3  # before myst-nb keeps only one of an output's forms (4)

    def run(self):
        for bundle in self.document.findall(nodes.container):
            forms = {form.get("mime_type"): form for form in bundle if isinstance(form, nodes.container)}
            if WIDGET_VIEW_MIMETYPE in forms and "image/png" in forms:
                stills = [image.deepcopy() for image in forms["image/png"]]
                stills[-1]["classes"].append("still")
                forms[WIDGET_VIEW_MIMETYPE].insert(0, stills)


def write_png(folder, data):
    """Write a picture under the name that myst-nb would give it; return the name."""
    name = f"{hashlib.sha256(data).hexdigest()}.png"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return name


def move_pictures(app, page, template, context, doctree):
    """Put the pictures in the state of a page's widgets, which are megabytes, into files beside the page."""
    if "pathto" not in context:
        return

    def move(match):
        name = write_png(Path(app.outdir, "_images"), base64.b64decode(match[1]))
        return context["pathto"](f"_images/{name}", 1)

    for script in context.get("script_files", ()):
        attributes = getattr(script, "attributes", {})
        if attributes.get("type") == STATE:
            attributes["body"] = INLINE.sub(move, attributes["body"]).replace("<", "\\u003c")  # no text ends a script


def visit_narrow(self, node):
    self.narrow_picture = posixpath.join(self.builder.imgpath, urllib.parse.quote(self.builder.images[node["uri"]]))
    raise nodes.SkipNode


def visit_image(self, node):
    """Write an image; with one for narrow windows before it, the browser's choice between both."""
    source, self.narrow_picture = getattr(self, "narrow_picture", ""), ""
    if source:
        self.body.append(f'<picture><source media="{NARROW}" srcset="{source}" />')
    type(self).visit_image(self, node)
    if source:
        self.body.append("</picture>")


def depart_image(self, node):
    type(self).depart_image(self, node)


def skip(self, node):
    raise nodes.SkipNode


def setup(app):
    """Let myst-nb's image renderer take ``alt`` and ``class`` from the output, as it does ``width`` and ``height``."""
    plain = NbElementRenderer.render_image

    def render_image(self, data):
        (image,) = plain(self, data)
        about = data.output_metadata.get(data.mime_type, {})
        if about.get("alt"):
            image["alt"] = about["alt"]
        image["classes"] += about.get("class", "").split()
        return [image]

    NbElementRenderer.render_image = render_image
    app.add_node(narrow_image, html=(visit_narrow, None), latex=(skip, None), text=(skip, None))
    app.add_node(nodes.image, override=True, html=(visit_image, depart_image))
    app.add_transform(FindNarrow)
    app.add_post_transform(KeepStill)
    app.connect("html-page-context", move_pictures, priority=850)  # when myst-nb has added the state
    return {"parallel_read_safe": True}
