"""Several drawings behind a control that works in the built page without a kernel."""

import base64
import html
import os

from . import captions, plotted

BUTTONS = 5  # more panes than this are chosen with a slider


class Panes(captions.Shown):
    """Drawings by label, one of which is shown, and a control named ``control`` that chooses it.

    Where there are no widgets, the ``default`` one is shown; where widgets cannot be stacked, all are. The caption is
    one for all panes; without one it is that of the default drawing.
    """

    def __init__(self, control, drawings, default, caption=""):
        self.control, self.drawings, self.default = control, drawings, default
        self.caption = caption or drawings[default].caption
        self._small = {}

    def narrow(self) -> bytes:
        """The default drawing for a narrow window."""
        return self._narrow(self.default)

    def csv(self) -> str:
        """The numbers that all drawings draw, as one table."""
        return plotted.table({f"{self.control} {label}": drawing.figure for label, drawing in self.drawings.items()})

    def _narrow(self, label):
        """The picture of one drawing for a narrow window, drawn once."""
        if label not in self._small:
            self._small[label] = self.drawings[label].narrow()
        return self._small[label]

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundles = {label: drawing._repr_mimebundle_() for label, drawing in self.drawings.items()}
        data, metadata = bundles[self.default]
        # What `_repr_mimebundle_` of a widget gives in ipywidgets 8; ipywidgets 7, which Colab has, lacks it.
        view = {"version_major": 2, "version_minor": 0, "model_id": self._widget(bundles).model_id}
        return {**data, "application/vnd.jupyter.widget-view+json": view}, metadata

    def _widget(self, bundles):
        import ipywidgets as widgets

        pages = bool(os.environ.get(captions.FOR_PAGE))
        pictures = [
            widgets.HTML(_picture(data["image/png"], self._narrow(label) if pages else b"", **metadata["image/png"]))
            for label, (data, metadata) in bundles.items()
        ]
        if not hasattr(widgets, "Stack"):  # ipywidgets 7 again
            columns = widgets.Layout(grid_template_columns="repeat(auto-fit, minmax(360px, 1fr))")
            return widgets.GridBox(pictures, layout=columns)
        labels, chosen = list(bundles), list(bundles).index(self.default)
        options = {"options": labels, "index": chosen, "description": self.control}
        if len(labels) > BUTTONS:
            control = widgets.SelectionSlider(**options)
        else:
            control = widgets.ToggleButtons(**options)
            control.style.button_width = "auto"
        control.style.description_width = "initial"
        stack = widgets.Stack(pictures, selected_index=chosen)
        widgets.jslink((control, "index"), (stack, "selected_index"))
        return widgets.VBox([control, stack])


def _picture(png, narrow, alt, width, **about):
    """A picture, and where there is another for narrow windows, the browser's choice between both."""
    picture = (
        f'<img class="{about["class"]}" alt="{html.escape(alt)}" style="max-width: 100%; width: {width}px" '
        f'src="{_inline(png)}">'
    )
    other = f'<source media="{captions.NARROW}" srcset="{_inline(narrow)}">'
    return f"<picture>{other}{picture}</picture>" if narrow else picture


def _inline(png):
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
