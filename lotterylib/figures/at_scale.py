"""Figures of chapter 7."""

import torch

from .. import findings
from . import style
from .panes import Panes


def _panels(records):
    figure, panels = style.panels(len(records))
    for panel, name in zip(panels, records, strict=True):
        panel.set_title(name)
    return figure, zip(panels, records.items(), strict=True)


def errors(records):
    """Test error against weights remaining, a panel for each scale: ``records`` of winning tickets by name."""
    said, (figure, panels) = [], _panels(records)
    for panel, (name, tickets) in panels:
        style.dense(panel, tickets)
        style.by_step(panel, tickets["density"], tickets["error"], tickets)
        style.remaining_axis(panel, tickets["density"])
        style.error_axis(panel)
        style.legend(panel)
        reached = [
            f"k = {step} down to {findings.percent(tickets['density'][level], 0)}" if level else f"k = {step} never"
            for step, level in zip(
                tickets["rewind_step"].tolist(), findings.sparsest_matching(tickets).tolist(), strict=True
            )
        ]
        said.append(f"{name}, matching: {', '.join(reached)}")
    return style.Drawing(figure, f"Test error against weights remaining at each scale. {'; '.join(said)}.")


def yardsticks(records):
    """How far the error lies above the limit of what matches, against weights remaining; a pane for each such limit."""
    limits = {
        "mean dense error + ε": lambda tickets: tickets["error"][0].mean() + findings.tolerance(tickets),
        "own dense error + ε": lambda tickets: tickets["error"][0] + findings.tolerance(tickets),
        "own dense error + half a point": lambda tickets: tickets["error"][0] + 0.005,
    }
    drawings = {name: _above(records, name, limit) for name, limit in limits.items()}
    return Panes("limit", drawings, list(drawings)[0])


def _above(records, name, limit):
    said, (figure, panels) = [], _panels(records)
    for panel, (scale, tickets) in panels:
        above = tickets["error"] - limit(tickets)
        style.by_step(panel, tickets["density"], above, tickets)
        panel.axhspan(-1, 0, color=style.GREY, alpha=0.15, linewidth=0, label="matches")
        style.remaining_axis(panel, tickets["density"])
        panel.set_ylim(-0.04, 0.08)
        style.percent_axis(panel.yaxis)
        panel.set_ylabel("points above the limit")
        style.legend(panel, loc="upper left")
        shares = (above[1:] <= 0).double().mean((0, 2)).tolist()
        shares = zip(tickets["rewind_step"].tolist(), shares, strict=True)
        said.append(f"{scale}: {', '.join(f'k = {k} {100 * share:.0f}' for k, share in shares)}")
    return style.Drawing(
        figure,
        f"Error above the limit: {name}. Percent of pruned networks, all levels and replicates, that match: "
        f"{'; '.join(said)}.",
    )


def barriers(records, tickets):
    """Barrier to the previous level against weights remaining, a panel for each scale."""
    said, (figure, panels) = [], _panels(records)
    for panel, (name, record) in panels:
        epsilon = findings.tolerance(tickets[name])
        panel.axhspan(0, epsilon, color=style.GREY, alpha=0.25, linewidth=0, label="at most ε")
        style.by_step(panel, record["density"][1:], record["height"], record)
        style.remaining_axis(panel, record["density"])
        panel.set_yscale("symlog", linthresh=0.01)
        panel.set_ylim(0, 1)
        panel.set_yticks([0, 0.01, 0.1, 1])
        style.percent_axis(panel.yaxis)
        panel.set_ylabel("barrier to the previous level (points)")
        style.legend(panel, loc="center left", bbox_to_anchor=(0, 0.62), fontsize=9)
        means = record["height"].mean((0, 2)).tolist()
        said.append(
            f"{name}: "
            + ", ".join(f"k = {k} {100 * m:.1f}" for k, m in zip(record["rewind_step"].tolist(), means, strict=True))
        )
    return style.Drawing(
        figure, f"Barriers between successive levels; means over levels in points of error. {'; '.join(said)}."
    )


def instability(records, steps):
    """Instability against k as a share of training; ``steps`` are the training steps of each scale, by name."""
    figure, axes = style.canvas()
    colours, said = (style.BLUE, style.ORANGE, style.GREEN), []
    for (name, record), colour, marker in zip(records.items(), colours, style.MARKERS, strict=False):
        share = record["rewind_step"].double() / steps[name]
        style.spread(axes, share, record["height"], name, colour, marker)
        below = (record["height"].mean(1) < findings.STABLE).nonzero()
        said.append(
            f"{name} is stable from {100 * float(share[below[0, 0]]):.1f} % of its training on"
            if len(below)
            else f"{name} is stable nowhere measured"
        )
    axes.axhline(findings.STABLE, color=style.GREY, linestyle="--", linewidth=1, label="stable below 2 points")
    style.percent_axis(axes.xaxis)
    style.percent_axis(axes.yaxis)
    axes.set_xlabel("step k at which the two trainings part (% of the training)")
    axes.set_ylabel("instability (points of error)")
    style.legend(axes)
    return style.Drawing(figure, f"Instability of the dense network at each scale: {'; '.join(said)}.")


def published(numbers):
    """The published errors of ResNet-20 on CIFAR-10, at the levels and halfway between them."""
    figure, axes = style.canvas()
    error = torch.tensor(numbers["error"], dtype=torch.float64) / 100
    axes.plot(range(len(error)), error, color=style.BLUE, marker="o", label="at the levels")
    halfway = {level + 0.5: value / 100 for level, value in numbers["midway"].items()}
    label = "halfway between two levels (read by eye)"
    axes.plot(list(halfway), list(halfway.values()), color=style.RED, marker="s", linestyle=":", label=label)
    axes.set_xticks(range(len(error)), [f"{100 * 0.8**level:.3g}" for level in range(len(error))], fontsize=8.5)
    axes.set_xlabel("weights remaining (%)")
    style.error_axis(axes)
    style.legend(axes)
    ends, middle = 100 * error, list(numbers["midway"].values())
    return style.Drawing(
        figure,
        f"Published, not ours: ResNet-20 on CIFAR-10, rewound to step 1,000. The error stays near {ends[0]:.1f} % "
        f"for nine levels and rises to {ends[-1]:.1f}; halfway between levels it leaves that of the ends after level "
        f"{min(numbers['midway'])} and reaches {middle[-1]:.0f} percent.",
    )
