"""Figures of chapter 7."""

import torch

from .. import style, verdicts
from ..barriers import halves
from ..panes import Panes
from ..tickets.findings import first_stable
from . import findings


def _panels(records):
    figure, panels = style.panels(len(records))
    for panel, name in zip(panels, records, strict=True):
        panel.set_title(name)
    return figure, zip(panels, records.items(), strict=True)


def _each(record, texts):
    """One text for each rewind step of a record, after its name."""
    return ", ".join(f"k = {k} {text}" for k, text in zip(record["rewind_step"].tolist(), texts, strict=True))


def errors(records):
    """Test error against weights remaining, a panel for each scale: ``records`` of winning tickets by name."""
    said, (figure, panels) = [], _panels(records)
    for panel, (name, tickets) in panels:
        style.dense(panel, tickets)
        style.by_step(panel, tickets["density"], tickets["error"], tickets)
        style.remaining_axis(panel, tickets["density"])
        style.error_axis(panel)
        style.legend(panel)
        said.append(f"{name}: {_each(tickets, verdicts.reach(tickets))}")
    return style.Drawing(
        figure,
        f"Fewest weights down to which the mean error matches: {'; '.join(said)}. "
        "Drawn: test error against weights remaining at each scale.",
    )


def yardsticks(records):
    """How far the error lies above the limit of what matches, against weights remaining; a pane for each such limit."""
    drawings = {name: _above(records, name, limit) for name, limit in findings.LIMITS.items()}
    return Panes("limit", drawings, list(drawings)[0])


def _above(records, name, limit):
    said, (figure, panels) = [], _panels(records)
    for panel, (preset, tickets) in panels:
        style.by_step(panel, tickets["density"], tickets["error"] - limit(tickets), tickets)
        shares = [f"{100 * share:.0f} %" for share in findings.matching_share(tickets, limit).tolist()]
        for line, share in zip(panel.get_lines(), shares, strict=True):
            line.set_label(f"{line.get_label()}: {share}")
        said.append(f"{preset}: {_each(tickets, shares)}")
        panel.axhspan(-1, 0, color=style.GREY, alpha=0.15, linewidth=0)
        style.remaining_axis(panel, tickets["density"])
        panel.set_ylim(-0.04, 0.08)
        style.percent_axis(panel.yaxis)
        panel.set_ylabel("points above the limit")
        style.legend(
            panel, loc="lower left", ncols=2, fontsize=9, handlelength=1.5,
            title="share that matches (shaded)", title_fontsize=9.5,
        )  # fmt: skip
    return style.Drawing(
        figure,
        f"Share of the pruned networks, all levels and replicates, below the {name}: {'; '.join(said)}. "
        "Drawn: how far the error is above this limit, against weights remaining.",
    )


def barriers(records, tickets):
    """Barrier to the previous level against weights remaining, a panel for each scale."""
    said, (figure, panels) = [], _panels(records)
    for panel, (name, record) in panels:
        epsilon = verdicts.tolerance(tickets[name])
        panel.axhspan(0, epsilon, color=style.GREY, alpha=0.25, linewidth=0, label="at most ε")
        style.by_step(panel, record["density"][1:], record["height"], record)
        style.remaining_axis(panel, record["density"])
        style.rate_scale(panel, "y")
        panel.set_ylabel("barrier to the previous level (points)")
        style.legend(panel, loc="center left", bbox_to_anchor=(0, 0.6), fontsize=9, handlelength=1.5)
        before, last = record["height"][:-1].mean((0, 2)), record["height"][-1].mean(-1)
        heights = [f"{100 * b:.1f} and {100 * at:.1f}" for b, at in zip(before.tolist(), last.tolist(), strict=True)]
        said.append(f"{name}: {_each(record, heights)}")
    return style.Drawing(
        figure,
        "Mean barrier between successive levels, in points of error, before the last pair of levels and at it: "
        f"{'; '.join(said)}. Drawn: each barrier against weights remaining.",
    )


def law(tickets, barriers, where, first=halves.HIGHER):
    """C1 as the paper's authors plot it, on what was run at ``where``: barrier against how far the network matches."""
    figure, axes = style.canvas()
    found, limit = findings.authors_points(tickets, barriers), findings.HALF_A_POINT
    for column, k in enumerate(verdicts.rewind_steps(tickets)):
        colour, marker = style.look(tickets, k)
        for part, face in ((slice(0, first - 1), "none"), (slice(first - 1, None), colour)):
            x, y = 100 * found["excess"][part, column], found["barrier"][part, column]
            label = f"k = {k}" if face == colour else None
            axes.scatter(x, y, marker=marker, edgecolors=colour, facecolors=face, label=label)
    for line, at in ((axes.axvline, 100 * limit), (axes.axhline, limit)):
        line(at, color=style.GREY, linestyle="--", linewidth=1)
    style.rate_scale(axes, "y")
    axes.set_xlabel("error of the sparser network minus the mean dense error (points)")
    axes.set_ylabel("barrier to the level before (points)")
    style.legend(axes)
    count = findings.as_authors_count(tickets, barriers, first=first)
    return style.Drawing(
        figure,
        f"{where}: of {count.both + count.only_matching} points that match {count.both} are connected, of "
        f"{count.only_connected + count.neither} that do not {count.neither} are not, each up to half a point. Drawn: "
        f"a point for each rewind step and level, means over replicates; open ones, of levels below {first}, are not "
        "counted.",
    )


def instability(records, steps):
    """Instability against k as a share of training; ``steps`` are the training steps of each scale, by name."""
    figure, axes = style.canvas()
    colours, said = (style.BLUE, style.ORANGE, style.GREEN), []
    for (name, record), colour, marker in zip(records.items(), colours, style.MARKERS, strict=False):
        share = record["rewind_step"].double() / steps[name]
        style.spread(axes, share, record["height"], name, colour, marker)
        first = first_stable(record)
        said.append(
            f"on {name} nowhere measured"
            if first is None
            else f"on {name} first below 2 points at {verdicts.percent(share[first])} of its training, "
            f"with {verdicts.points(record['height'][first])}"
        )
    axes.axhline(verdicts.STABLE, color=style.GREY, linestyle="--", linewidth=1, label="stable below 2 points")
    style.percent_axis(axes.xaxis)
    style.rate_scale(axes, "y")
    axes.set_xlabel("step k at which the two trainings part (% of the training)")
    axes.set_ylabel("instability (points of error)")
    style.legend(axes)
    return style.Drawing(
        figure,
        f"The dense network is stable {'; '.join(said)}. Drawn: its instability against k as a share of training.",
    )


def published(numbers):
    """The published errors of ResNet-20 on CIFAR-10, at the levels and halfway between them."""
    figure, axes = style.canvas()
    error = torch.tensor(numbers["error"], dtype=torch.float64) / 100
    density = 0.8 ** torch.arange(len(error), dtype=torch.float64)
    axes.plot(density, error, color=style.BLUE, marker="o", label="at the levels")
    halfway = {0.8 ** (level + 0.5): value / 100 for level, value in numbers["midway"].items()}
    label = "halfway between two levels, read by eye\n(with more weights: like the levels, not drawn)"
    axes.plot(list(halfway), list(halfway.values()), color=style.BROWN, marker="s", linestyle=":", label=label)
    style.remaining_axis(axes, density)
    style.error_axis(axes)
    style.legend(axes)
    near = int((error <= error[0] + findings.HALF_A_POINT).nonzero()[-1])
    return style.Drawing(
        figure,
        f"The error stays within half a point of the dense {verdicts.percent(error[0])} down to "
        f"{verdicts.percent(density[near], 0)} of the weights and rises to {verdicts.percent(error[-1])}; halfway "
        f"between levels it leaves that of the ends after level {min(numbers['midway'])} and reaches "
        f"{verdicts.percent(list(halfway.values())[-1], 0)}. "
        "Published, not ours: ResNet-20 on CIFAR-10, rewound to step 1,000.",
    )
