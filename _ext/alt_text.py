"""Sphinx extension: the alternative text and the class that a figure carries in its output reach the built page."""

from myst_nb.core.render import NbElementRenderer


def setup(app):
    """Let myst-nb's image renderer take ``alt`` and ``class`` from the output, as it does ``width`` and ``height``."""
    plain = NbElementRenderer.render_image

    def render_image(self, data):
        nodes = plain(self, data)
        about = data.output_metadata.get(data.mime_type, {})
        if about.get("alt"):
            nodes[0]["alt"] = about["alt"]
        nodes[0]["classes"] += about.get("class", "").split()
        return nodes

    NbElementRenderer.render_image = render_image
    return {"parallel_read_safe": True}
