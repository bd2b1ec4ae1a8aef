"""Several drawings behind a row of buttons, which work in the built page without a kernel."""

import base64
import html


class Panes:
    """Drawings by label; where there are no widgets, or none that can be stacked, the ``default`` one is shown."""

    def __init__(self, drawings, default):
        self.drawings, self.default = drawings, default

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundles = {label: drawing._repr_mimebundle_() for label, drawing in self.drawings.items()}
        data, metadata = bundles[self.default]
        return {**data, **_stack(bundles, self.default)}, metadata


def _stack(bundles, default):
    import ipywidgets as widgets

    pictures = [
        widgets.HTML(
            f'<img alt="{html.escape(about["alt"])}" style="max-width: 100%; width: {about["width"]}px" '
            f'src="data:image/png;base64,{base64.b64encode(data["image/png"]).decode()}">'
        )
        for data, about in ((data, metadata["image/png"]) for data, metadata in bundles.values())
    ]
    if not hasattr(widgets, "Stack"):  # ipywidgets 7, which Colab has
        return widgets.VBox(pictures)._repr_mimebundle_()
    buttons = widgets.ToggleButtons(options=list(bundles), index=list(bundles).index(default))
    buttons.style.button_width = "auto"
    stack = widgets.Stack(pictures, selected_index=buttons.index)
    widgets.jslink((buttons, "index"), (stack, "selected_index"))
    return widgets.VBox([buttons, stack])._repr_mimebundle_()
