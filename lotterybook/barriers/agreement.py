"""Figures of chapter 2 that set connected against matching."""

import torch

from .. import style, verdicts


def scatter(tickets, barrier):
    """One dot a pair of successive levels: excess error of the worse end over dense, and barrier (levels, K, R)."""
    figure, axes = style.canvas(height=4.6)
    epsilon, dense = verdicts.tolerance(tickets), float(tickets["error"][0].mean())
    excess = torch.maximum(tickets["error"][:-1], tickets["error"][1:]) - dense
    sparse, names = tickets["density"][1:] < verdicts.SPARSE, style.step_names(tickets)
    for i, (name, colour) in enumerate(zip(names, style.shades(len(names)), strict=True)):
        for chosen, face in ((~sparse, "none"), (sparse, colour)):
            x, y = excess[chosen, i].flatten(), barrier[chosen, i].flatten()
            label = name if face != "none" else None
            axes.plot(x, y, style.MARKERS[i], color=colour, markerfacecolor=face, alpha=0.7, label=label)
    for line in (axes.axhline, axes.axvline):
        line(epsilon, color=style.GREY, linestyle="--", linewidth=1)
    style.rate_scale(axes, "x", min(-0.006, float(excess.min()) - 0.001), high=1)
    style.rate_scale(axes, "y", -0.006, high=2)  # room for words below and above
    corners = {
        ("left", "top"): "matching,\nnot connected", ("right", "top"): "neither",
        ("left", "bottom"): "matching,\nconnected", ("right", "bottom"): "connected,\nnot matching",
    }  # fmt: skip
    for (ha, va), text in corners.items():
        at = {"left": 0.01, "right": 0.99}[ha], {"top": 0.97, "bottom": 0.02}[va]
        axes.text(*at, text, transform=axes.transAxes, style="italic", fontsize=10, ha=ha, va=va)
    axes.set_xlabel("error of the worse end above the dense network (points)")
    axes.set_ylabel("barrier (points of error)")
    title = f"filled: below {verdicts.percent(verdicts.SPARSE, 0)}\nof the weights"
    figure.legend(title=title, loc="outside right upper", frameon=False)
    count = verdicts.contingency(tickets, barrier)
    return style.Drawing(
        figure,
        f"Barrier against excess error for {sum(count)} pairs of successive levels: {count.both} are matching and "
        f"connected, {count.neither} neither, {count.only_connected} connected but not matching, {count.only_matching} "
        "matching but not connected.",
    )


def contingency(tickets, barrier):
    """Connected against matching, counted, for networks with many and with few weights."""
    parts = _parts(tickets, False, True)
    figure, panels = style.panels(len(parts), 2.9, sharey=True)
    said, cells = [], ("matching and connected", "only matching", "only connected", "neither")
    for axes, (sparse, title) in zip(panels, parts.items(), strict=True):
        count = verdicts.contingency(tickets, barrier, sparse=sparse)
        table = torch.tensor([[count.both, count.only_matching], [count.only_connected, count.neither]])
        style.counts(axes, table, max(1, sum(count)), fontsize=16)
        axes.set_xticks((0, 1), ("connected", "not connected"))
        axes.set_yticks((0, 1), ("matching", "not matching"))
        axes.set_title(f"{title}\nagreement {verdicts.percent(count.agreement, 0)}")
        said.append(f"{title}: {', '.join(f'{n} {c}' for n, c in zip(cells, count, strict=True))}")
    return style.Drawing(figure, f"Counts of pairs of successive levels. {'; '.join(said)}.")


def _parts(tickets, *wanted):
    """Titles of the parts that ``verdicts.contingency`` counts, without those that hold no pair."""
    kept, sparse = verdicts.percent(verdicts.SPARSE, 0), tickets["density"][1:] < verdicts.SPARSE
    titles = {None: "all pairs", False: f"at least {kept} of the weights", True: f"less than {kept} of the weights"}
    return {part: titles[part] for part in wanted if part is None or (sparse == part).any()}


def agreement(tickets, barrier, multiples=(0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.7, 8)):
    """Agreement of connected with matching, and both conditional shares, against the tolerance."""
    parts, unit, said = _parts(tickets, None, True), verdicts.tolerance(tickets), []
    told = multiples[0], 1, multiples[-1]
    figure, panels = style.panels(len(parts), 3.9, sharey=True)
    for axes, (sparse, title) in zip(panels, parts.items(), strict=True):
        counts = [verdicts.contingency(tickets, barrier, unit * m, sparse) for m in multiples]
        lines = {
            "agreement": ([c.agreement for c in counts], "black", "-"),
            "connected, of the matching": ([_share(c.both, c.only_matching) for c in counts], style.BLUE, "--"),
            "matching, of the connected": ([_share(c.both, c.only_connected) for c in counts], style.ORANGE, "-."),
            "agreement by chance": ([c.chance for c in counts], style.GREY, ":"),
        }
        for marker, (name, (shares, colour, dash)) in zip(style.MARKERS, lines.items(), strict=False):
            axes.plot(multiples, shares, marker=marker, color=colour, linestyle=dash, label=name)
        axes.set_xscale("log")
        axes.set_xticks((0.5, 1, 2, 4, 8), ("0.5", "1", "2", "4", "8"))
        axes.set_xticks([], minor=True)
        axes.set_xlabel("tolerance ε (dense standard deviations)")
        axes.set_title(title)
        ends = "; ".join(
            f"{name} {', '.join(f'{100 * shares[multiples.index(m)]:.0f}' for m in told)}"
            for name, (shares, *_) in lines.items()
        )
        said.append(f"{title}: {ends}")
    panels[0].set_ylim(-0.03, 1.03)
    style.percent_axis(panels[0].yaxis)
    panels[0].set_ylabel("share of pairs (%)")
    style.legend_below(figure, panels[0], 2)
    alt = "Agreement of connected with matching against the tolerance. In percent at"
    at = ", ".join(f"{m:g}" for m in told)
    return style.Drawing(figure, f"{alt} {at} dense standard deviations. Of {'. Of '.join(said)}.")


def _share(part, rest):
    return part / (part + rest) if part + rest else float("nan")
