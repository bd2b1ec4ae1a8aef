"""The map of chapter 6: error by the weights and by the examples that are left."""

import torch

from .. import style, verdicts
from ..panes import Panes
from ..settings import ORDERS
from . import readings
from .figures import LOOKS, SHARES, WHOLE

WORK = (0.5, 0.25, 0.125, 0.0625, 0.03125)  # shares of the work whose lines the map shows
_TICKS = (0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def both(record):
    """Error by the shares of weights and of examples that are left, with lines of equal work; a pane an order."""
    drawings = {ORDERS[int(order)]: _both(record, i) for i, order in enumerate(record["order"])}
    share, place, level = readings.equal_work(record)
    examples = ", ".join(
        f"{ORDERS[int(order)]} {verdicts.percent(record['error'][i, place, 0].mean(), 2)}"
        for i, order in enumerate(record["order"])
    )
    return Panes(
        "examples kept", drawings, next(iter(drawings)),
        caption=f"With {verdicts.percent(share, 0)} of the work, spent on fewer weights, the mean error is "
        f"{verdicts.percent(record['all_error'][level].mean(), 2)}; spent on fewer examples, {examples}.",
    )  # fmt: skip


def _both(record, i):
    from matplotlib.colors import LogNorm

    figure, (left, right) = style.canvas(1, 2, height=4.2)
    density, name = record["density"], ORDERS[int(record["order"][i])]
    largest_first = (-record["share"]).argsort()
    shares = [1.0, *record["share"][largest_first].tolist()]
    errors = torch.cat([record["all_error"][None], record["error"][i][largest_first]])
    mean, across, down = errors.mean(-1), _edges(density), _edges(shares)
    picture = left.pcolormesh(across, down, mean.numpy(), cmap="cividis", norm=LogNorm())
    for work in (work for work in WORK if work > float(density[-1]) * shares[-1]):
        corner = max(float(density[-1]), work)
        left.plot([corner, 1], [work / corner, work], color="white", linestyle="--", linewidth=1.3, label="equal work")
    style.remaining_axis(left, density)
    style.share_axis(left.yaxis, shares)
    left.set(xlim=(across[0], across[-1]), ylim=(down[-1], down[0]), ylabel="examples kept (%)")
    left.grid(False)
    left.set_title("dashed: equal work")
    bar = figure.colorbar(picture, ax=left, label="test error (%)")
    low, high = float(mean.min()), float(mean.max())
    bar.set_ticks([tick for tick in _TICKS if low <= tick <= high] or [low])
    bar.ax.minorticks_off()
    style.percent_axis(bar.ax.yaxis)
    for share, error, line in zip(shares, errors, SHARES, strict=False):
        look, label = (WHOLE, "all examples") if share == 1 else (LOOKS[name], f"{name} {100 * share:.0f} %")
        style.spread(right, share * density, error, label, *look, linestyle=line)
    least = float(density[-1]) * shares[-1]
    style.remaining_axis(right, torch.tensor([1.0, *(work for work in WORK if work > 1.2 * least), least]))
    right.set_xlabel("work: both shares multiplied (%)")
    style.error_axis(right)
    style.legend_below(figure, right, 3)
    told = "; ".join(
        f"{100 * share:.0f} % of the examples: {', '.join(f'{100 * float(e):.1f}' for e in row)}"
        for share, row in zip(shares, mean, strict=True)
    )
    return style.Drawing(
        figure,
        f"Where the {name} examples are kept, mean test error in percent from all weights down to "
        f"{verdicts.percent(density[-1], 0)} of them: {told}. On the left a map of it, on the right against the "
        "product of both shares.",
    )


def _edges(values):
    """Where the cells of a map on a logarithmic axis end: midway between neighbours, and as far beyond the ends."""
    logs = torch.as_tensor(values, dtype=torch.float64).log()
    middle = (logs[1:] + logs[:-1]) / 2
    return torch.cat([2 * logs[:1] - middle[:1], middle, 2 * logs[-1:] - middle[-1:]]).exp().tolist()
