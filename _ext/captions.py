"""Sphinx extension: every figure that a cell shows has a numbered caption, a permalink, and its picture and data.

What a cell shows as a figure (``lotterybook.captions``) is two outputs, a picture and its caption. Here they become one
figure. Its number is its place in the chapter; a link in the prose, ``[](#fig-name)``, shows the number of today.
"""

import base64
import hashlib
import os
import posixpath
import sys
import urllib.parse
from pathlib import Path

from docutils import nodes
from myst_nb.core.render import NbElementRenderer
from pictures import narrow_image
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # lotterybook is not installed

from lotterybook import captions  # noqa: E402

log = logging.getLogger(__name__)


class parts(nodes.Element):
    """What a page needs of a figure besides: its narrow picture, and its data until they are in a file."""


class png(nodes.inline):
    """A link to the picture of a figure."""


class Number(SphinxTransform):
    """Makes the figures of a page, and links of what the prose says about figures."""

    default_priority = 300  # before MyST looks for the targets of links (879)

    def apply(self):
        shown = []
        for bundle in self.document.findall(is_bundle):
            images = [image for image in bundle.findall(nodes.image) if "figure" in image]
            if images:
                shown.append((bundle, images[-1]))
        named = captions.in_order([image["figure"] for _, image in shown], self.env.docname)
        for (bundle, image), (name, number) in zip(shown, named, strict=True):
            note(self.env, name, number)
            self.make(bundle, image, name, number)
        for link in list(self.document.findall(nodes.reference)):
            if link.get("refuri", "").startswith("#fig-"):
                name, text = link["refuri"].removeprefix("#fig-"), link.astext()
                own = [] if not text or text.startswith("Figure ") else link.children
                where = {"reftype": "figure", "reftarget": name, "refdoc": self.env.docname}
                link.replace_self(addnodes.pending_xref("", nodes.inline("", "", *own), **where))

    def make(self, bundle, image, name, number):
        """Put a picture and the caption after it into a figure."""
        text, after = [], bundle.next_node(is_bundle, descend=False, siblings=True)
        for held in after.findall(nodes.container) if after else ():
            if held.get("caption") == image["figure"]:
                text = next(held.findall(nodes.paragraph)).children
        if text:
            after.parent.remove(after)
        old = next((place for place, part in enumerate(text, 1) if isinstance(part, nodes.strong)), 0)
        told = [nodes.inline("", f"Figure {number}.", classes=["caption-number"]), *text[old:]]
        data = [png("", "PNG", uri=image["uri"], name=name)]
        for kept in list(bundle.findall(parts)):
            image.parent.insert(0, narrow_image(uri=kept["narrow"]))
            target = self.write(name, kept["csv"])
            data += [nodes.Text(" "), addnodes.download_reference("", "", nodes.Text("CSV"), reftarget=target)]
            kept.parent.parent.remove(kept.parent)
        told += [nodes.Text(" "), nodes.inline("", "", *data, classes=["figure-data"])]
        figure = nodes.figure("", ids=[f"fig-{name}"], classes=["numbered"])
        bundle.replace_self(figure)
        figure += [bundle, nodes.caption("", "", *told)]

    def write(self, name, table):
        """Write the data of a figure where myst-nb writes pictures; return the path, from the sources."""
        path = Path(self.env.mystnb_config.output_folder, *self.env.docname.split("/"), f"{name}.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table, encoding="utf-8")
        return "/" + Path(os.path.relpath(path.resolve(), self.env.srcdir)).as_posix()


class OfferData(SphinxPostTransform):
    """Takes the links to picture and data from formats that hold no files, such as EPUB."""

    default_priority = 900

    def run(self):
        if not getattr(self.app.builder, "download_support", False):
            for links in list(self.document.findall(nodes.inline)):
                if "figure-data" in links["classes"]:
                    links.parent.remove(links)


def is_bundle(node):
    """Whether a node holds the forms of one output."""
    return isinstance(node, nodes.container) and node.get("nb_element") == "mime_bundle"


def note(env, name, number):
    """Remember where a figure is. Names are for the whole book, which may be one page."""
    known = figures(env)
    if name in known and known[name][0] != env.docname:
        log.warning("two pages have a figure %r; give one a name with .captioned(name=...)", name, location=env.docname)
    known[name] = env.docname, number


def figures(env):
    """All figures by name: page and number."""
    if not hasattr(env, "numbered_figures"):
        env.numbered_figures = {}
    return env.numbered_figures


def purge(app, env, page):
    """Forget the figures of a page that is read again."""
    env.numbered_figures = {name: figure for name, figure in figures(env).items() if figure[0] != page}


def merge(app, env, pages, other):
    """Take over what a parallel process has read."""
    figures(env).update({name: figure for name, figure in figures(other).items() if figure[0] in pages})


def resolve(app, env, node, content):
    """Link to a figure by its number, or by the words that the author gave."""
    if node["reftype"] == "figure" and node["reftarget"] in figures(env):
        page, number = figures(env)[node["reftarget"]]
        text = content if content.astext() else nodes.inline("", f"Figure {number}")
        return make_refnode(app.builder, node["refdoc"], page, f"fig-{node['reftarget']}", text)
    return None


def visit_png(self, node):
    path = posixpath.join(self.builder.imgpath, urllib.parse.quote(self.builder.images[node["uri"].lstrip("/")]))
    name = f"{node['name']}.png"
    self.body.append(self.starttag(node, "a", "", CLASS="png", href=path, download=name))


def depart_png(self, node):
    self.body.append("</a>")


def setup(app):
    """Let myst-nb pass on which outputs are figures and captions; ask the chapters for all that a page needs."""
    os.environ[captions.FOR_PAGE] = "1"
    image, markdown, unknown = (
        getattr(NbElementRenderer, f"render_{kind}") for kind in ("image", "markdown", "unhandled")
    )

    def render_image(self, data):
        made = image(self, data)
        if data.output_metadata.get("figure"):
            made[-1]["figure"] = data.output_metadata["figure"]
        return made

    def render_markdown(self, data):
        made = markdown(self, data)
        name = data.output_metadata.get("caption")
        return [nodes.container("", *made, caption=name)] if name else made

    def render_unhandled(self, data):
        if data.mime_type != captions.PARTS:
            return unknown(self, data)
        picture = base64.b64decode(data.content["narrow"])
        file = f"{hashlib.sha256(picture).hexdigest()}.png"
        return [parts(csv=data.content["csv"], narrow=self.write_file([file], picture, exists_ok=True))]

    NbElementRenderer.render_image = render_image
    NbElementRenderer.render_markdown = render_markdown
    NbElementRenderer.render_unhandled = render_unhandled
    app.add_node(png, html=(visit_png, depart_png))
    app.add_node(parts)
    app.add_transform(Number)
    app.add_post_transform(OfferData)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
