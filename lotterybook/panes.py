"""Several drawings behind a control that works in the built page without a kernel."""

import base64
import html

BUTTONS = 5  # more panes than this are chosen with a slider


class Panes:
    """Drawings by label, one of which is shown, and a control named ``name`` that chooses it.

    Where there are no widgets, the ``default`` one is shown; where widgets cannot be stacked, all are.
    """

    def __init__(self, name, drawings, default):
        self.name, self.drawings, self.default = name, drawings, default

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundles = {label: drawing._repr_mimebundle_() for label, drawing in self.drawings.items()}
        data, metadata = bundles[self.default]
        # What `_repr_mimebundle_` of a widget gives in ipywidgets 8; ipywidgets 7, which Colab has, lacks it.
        view = {"version_major": 2, "version_minor": 0, "model_id": self._widget(bundles).model_id}
        return {**data, "application/vnd.jupyter.widget-view+json": view}, metadata

    def _widget(self, bundles):
        import ipywidgets as widgets

        pictures = [widgets.HTML(_picture(data["image/png"], **metadata["image/png"]))
                    for data, metadata in bundles.values()]  # fmt: skip
        if not hasattr(widgets, "Stack"):  # ipywidgets 7 again
            columns = widgets.Layout(grid_template_columns="repeat(auto-fit, minmax(360px, 1fr))")
            return widgets.GridBox(pictures, layout=columns)
        labels, chosen = list(bundles), list(bundles).index(self.default)
        options = {"options": labels, "index": chosen, "description": self.name}
        if len(labels) > BUTTONS:
            control = widgets.SelectionSlider(**options)
        else:
            control = widgets.ToggleButtons(**options)
            control.style.button_width = "auto"
        control.style.description_width = "initial"
        stack = widgets.Stack(pictures, selected_index=chosen)
        widgets.jslink((control, "index"), (stack, "selected_index"))
        return widgets.VBox([control, stack])


def _picture(png, alt, width, **about):
    return (
        f'<img class="{about["class"]}" alt="{html.escape(alt)}" style="max-width: 100%; width: {width}px" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    )
