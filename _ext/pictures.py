"""Sphinx extension: figures reach the built page with their alternative text, and with a picture of each widget."""

from docutils import nodes
from myst_nb.core.render import WIDGET_VIEW_MIMETYPE, NbElementRenderer
from sphinx.transforms.post_transforms import SphinxPostTransform


class KeepStill(SphinxPostTransform):
    """Before a widget put the picture that its output carries, for readers without scripts and until they have run."""

    default_priority = 3  # before myst-nb keeps only one of an output's forms (4)

    def run(self):
        for bundle in self.document.findall(nodes.container):
            forms = {form.get("mime_type"): form for form in bundle if isinstance(form, nodes.container)}
            if WIDGET_VIEW_MIMETYPE in forms and "image/png" in forms:
                still = forms["image/png"][0].deepcopy()
                still["classes"].append("still")
                forms[WIDGET_VIEW_MIMETYPE].insert(0, still)


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
    app.add_post_transform(KeepStill)
    return {"parallel_read_safe": True}
