"""Several drawings behind a row of buttons, which work in the built page without a kernel."""

import base64
import html


class Panes:
    """Drawings by label; where there are no widgets, or none that can be stacked, the ``default`` one is shown."""

    def __init__(self, drawings, default):
        self.drawings, self.default = drawings, default

    def _repr_mimebundle_(self, include=None, exclude=None):
        data, metadata = self.drawings[self.default]._repr_mimebundle_()
        return {**data, **_stack(self.drawings, self.default)}, metadata


def _stack(drawings, default):
    import ipywidgets as widgets

    pictures = [
        widgets.HTML(
            f'<img alt="{html.escape(drawing.alt)}" style="max-width: 100%; width: {data["image/png"]["width"]}px" '
            f'src="data:image/png;base64,{base64.b64encode(drawing.png()).decode()}">'
        )
        for drawing, (_, data) in ((drawing, drawing._repr_mimebundle_()) for drawing in drawings.values())
    ]
    if not hasattr(widgets, "Stack"):  # ipywidgets 7, which Colab has
        return widgets.VBox(pictures)._repr_mimebundle_()
    buttons = widgets.ToggleButtons(options=list(drawings), index=list(drawings).index(default))
    buttons.style.button_width = "auto"
    stack = widgets.Stack(pictures, selected_index=buttons.index)
    widgets.jslink((buttons, "index"), (stack, "selected_index"))
    return widgets.VBox([buttons, stack])._repr_mimebundle_()
