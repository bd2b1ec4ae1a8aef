"""Sphinx extension: the alternative text that a figure carries in its output's metadata reaches the built page."""

from myst_nb.core.render import NbElementRenderer


def setup(app):
    """Let myst-nb's image renderer take ``alt`` from the output, as it does ``width`` and ``height``."""
    plain = NbElementRenderer.render_image

    def render_image(self, data):
        nodes = plain(self, data)
        alt = data.output_metadata.get(data.mime_type, {}).get("alt")
        if alt:
            nodes[0]["alt"] = alt
        return nodes

    NbElementRenderer.render_image = render_image
    return {"parallel_read_safe": True}
