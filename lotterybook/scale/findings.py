"""Findings of chapter 7: C1 on ResNet-20, beside the testbed and the authors' published numbers.

The rule of the verdict is that of chapter 2 (``barriers.halves``). It was written for the testbed before its records
were made, and before these blocks' was; a shorter training of ResNet-20 on such a card had been seen by then.
"""

import torch

from .. import records, verdicts
from ..barriers import halves
from ..barriers.experiments import successive_barriers
from ..barriers.halves import HIGHER, SHARE, SHARE_PARTLY
from ..limits import readings as limits
from ..limits import rules
from ..limits.experiments import descents, spectra
from ..presets import PRESETS
from ..tickets.experiments import instability, winning_tickets
from ..verdicts import Table, Text, Verdict, percent, points, rewind_steps, table
from . import blocks, costs, middle, readings
from .experiments import NEEDED, PUBLISHED, scales
from .stability import in_words, of_scale, others

TESTBED, MIDDLE = "testbed", "ResNet-8, Fashion-MNIST"  # what the scales are called
BLOCK, NOTEBOOKS = "ResNet-20, lossy CIFAR-10", "ResNet-20, published"


def block() -> records.Record:
    """The published record of ``lent``; it cannot be made here. Raises ``FileNotFoundError`` where it is missing."""
    if (found := blocks.published()) is None:
        raise FileNotFoundError("records/lent holds no whole record of ResNet-20; get the repository's records anew")
    return found


def published():
    """The authors' numbers as records of winning tickets and of barriers, one replicate that is a mean of four.

    ``height`` is how far the error halfway lies above the mean of the two ends; 0 where theirs cannot be told apart.
    """
    error = torch.tensor(PUBLISHED["error"], dtype=torch.float64)[:, None, None] / 100
    height = torch.zeros_like(error[1:])
    for level, midway in PUBLISHED["midway"].items():
        height[level] = midway / 100 - error[level : level + 2].mean()
    density = 0.8 ** torch.arange(len(error), dtype=torch.float64)
    axes = {"density": density, "rewind_step": torch.tensor([PUBLISHED["rewind_step"]])}
    return {"error": error, **axes}, {"height": height, **axes}


def shown_steps(preset) -> tuple:
    """The rewind steps of a preset that stand beside ResNet-20: those on which chapter 2 puts masks found without."""
    chosen = PRESETS[preset]
    return chosen.barriers.walk.return_steps if chosen.barriers.walk else chosen.main.config.rewind_step


def by_block() -> dict:
    """C1 counted for each block by itself, against its own dense networks: by the seeds of the block."""
    record, counted = block(), {}
    error, height = record["winning_tickets"]["error"], record["successive_barriers"]["height"]
    for part in record.about["blocks"]:
        chosen = [record.about["seeds"].index(seed) for seed in part["seeds"]]
        pairs = halves.pairs(error[..., chosen], height[..., chosen])
        counted[tuple(part["seeds"])] = halves.count(pairs.mean().levels(HIGHER))
    return counted


def settings(preset) -> Text:
    """What the scales are: network, data, training, replicates, rewind steps."""
    columns = [
        _described(preset, None), _described(middle.PRESET, None),
        _described("lent", block()["winning_tickets"]["error"].shape[-1]),
        {
            **_described("paper", PUBLISHED["replicates"]), "products in a step": "not known to us",
            "rewind steps": _shares(PUBLISHED["rewind_steps"], PRESETS["paper"].main.config.recipe.steps),
        },
    ]  # fmt: skip
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return table(["", TESTBED, MIDDLE, BLOCK, NOTEBOOKS], rows)


def _described(name, replicates):
    preset, work = PRESETS[name], costs.Work.of(name)
    config, examples = preset.main.config, costs.examples(name)
    recipe = config.recipe
    factor = work.step_operations / costs.Work.of("book").step_operations
    passes = recipe.steps * recipe.batch_size / examples
    return {
        "network": preset.main.network,
        "prunable weights": f"{work.weights:,}",
        "data": f"{costs.CALLED[preset.dataset]}, {examples:,} examples",
        "augmentation": "crops and flips" if preset.dataset.startswith("cifar") else "none",
        "products in a step": recipe.precision,
        "operations of a step": f"{factor:,.2g} times the testbed's" if factor < 1 else f"{factor:,.0f} ×",
        "learning rate": f"{recipe.lr}, {recipe.schedule}",
        "steps": f"{recipe.steps:,}, {passes:.0f} passes over the data",
        "replicates": f"{replicates or config.replicates}",
        "rewind steps": _shares(config.rewind_step, recipe.steps),
    }


def _shares(steps, whole):
    return f"{', '.join(f'{k:,}' for k in steps)}, at most {percent(max(steps) / whole)} of training"


def law_at_scale(tickets, barriers) -> Verdict:
    """The verdict on C1 for the blocks of ResNet-20."""
    counted = readings.count(tickets, barriers)
    (part, whole), (other, others) = halves.halves(counted)
    return Verdict(
        "At higher sparsities, successive pruned networks are connected without error barrier if and only if they "
        "match: ResNet-20 on a lossy copy of CIFAR-10",
        f"the rule of chapter 2, written for the testbed before its records and before this one: pairs of rewind step "
        f"and level from level {HIGHER} on, means over replicates, both tolerances half a point; a pair matches if its "
        f"sparser network does; holds if both halves are at least {percent(SHARE, 0)}, partly from "
        f"{percent(SHARE_PARTLY, 0)}",
        f"*If*: {part} of {whole} matching pairs are connected. *Only if*: {other} of {others} connected pairs match",
        halves.judge(counted),
    )


def verdict(tickets, barriers) -> Table:
    """The table at the end of chapter 7, from the record that the chapter loaded."""
    return Table([law_at_scale(tickets, barriers)])


def by_scale(preset="book") -> Text:
    """Both halves at every scale that is recorded, of each block, and the authors' own counts, by the one rule."""
    record, (theirs, lines) = block(), published()
    called, counted = {preset: TESTBED, middle.PRESET: MIDDLE}, {}
    some = {called.get(name, name): (winning_tickets(name), successive_barriers(name)) for name in scales(preset)}
    for name, pair in {**some, BLOCK: (record["winning_tickets"], record["successive_barriers"])}.items():
        for entry, kind in (("height", ""), ("recalibrated", ", statistics measured anew")):
            counted[name + kind] = readings.count(*pair, entry)
    for seeds, alone in by_block().items():
        counted[f"{BLOCK}, seeds {' and '.join(map(str, seeds))} alone"] = alone
    counted[f"{NOTEBOOKS}, step {PUBLISHED['rewind_step']:,}"] = readings.count(theirs, lines)
    counted[f"{NOTEBOOKS}, all its rewind steps, read by eye"] = verdicts.Contingency(*PUBLISHED["pairs"])
    rows = [
        [name, *(in_words(*half) for half in halves.halves(c)), in_words(c.both + c.neither, sum(c)),
         percent(c.chance, 0), halves.judge(c)]
        for name, c in counted.items()
    ]  # fmt: skip
    return table(["scale", "if", "only if", "agreement", "by chance", "the law, by its rule"], rows)


def turning(scales) -> Text:
    """Where matching and connection end at each scale, from level ``HIGHER`` on; records by name, as for figures."""
    rows = []
    for name, (tickets, barriers) in scales.items():
        kept, last = tickets["density"], len(barriers["height"])
        for k, *levels in zip(rewind_steps(tickets), *readings.last_levels(tickets, barriers), strict=True):
            told = [
                "at no level" if level < HIGHER else f"{percent(kept[level], 0)} (level {level})"
                + (", the last" if level == last else "")
                for level in levels
            ]  # fmt: skip
            rows.append([name, f"{k:,}", *told])
    return table(["scale", "k", "matches down to", "connected down to"], rows)


def over_tolerance() -> Text:
    """Both halves of ResNet-20 over the tolerance."""
    record = block()
    pairs = readings.means(record["winning_tickets"], record["successive_barriers"]).levels(HIGHER)
    counts = [halves.count(pairs, epsilon) for epsilon in halves.TOLERANCES]
    rows = [
        [points(epsilon, 2), *(in_words(*half) for half in halves.halves(counted))]
        for epsilon, counted in zip(halves.TOLERANCES, counts, strict=True)
    ]
    return table(["both tolerances", "if", "only if"], rows)


def sentences(preset="book") -> list:
    """What was found at scale, for the editor."""
    record = block()
    tickets, barriers, unstable = (record[name] for name in NEEDED)
    counted, some = readings.count(tickets, barriers), readings.means(tickets, barriers)
    made = f"ResNet-20 on {costs.CALLED[record.about['data']]}, {record.about['device']}, seeds {record.about['seeds']}"
    told = [f"{made}: dense error {percent(tickets['error'][0, 0], 2)}; from level {HIGHER} on {halves.told(counted)}."]
    height = barriers["height"].mean(-1)
    for i, k in enumerate(rewind_steps(tickets)):
        one, excess = halves.count(some.at([i]).levels(HIGHER)), some.excess[:, i]
        told.append(
            f"From k = {k}: {halves.told(one)}; the mean error is between {points(excess.min(), 2)} and "
            f"{points(excess.max(), 2)} above the dense one; mean barriers from "
            f"{points(height[:, i].min(), 2)} to {points(height[:, i].max())}."
        )
    by_step = in_words(readings.told_by_step(tickets, barriers), sum(counted))
    told.append(f"The rewind step alone tells {by_step} pairs, matching {counted.both + counted.neither}.")
    pictures = winning_tickets(middle.PRESET), successive_barriers(middle.PRESET)
    told.append(f"{MIDDLE}: {halves.told(readings.count(*pictures))}.")
    heights = zip(rewind_steps(unstable), unstable["height"], strict=True)
    told.append(f"Instability: {', '.join(f'{points(height)} at k = {k}' for k, height in heights)}.")
    told += [f"{bill.name}: {costs.told(bill)}." for bill in costs.bills()]
    return told


def numbers(preset="book") -> dict:
    """The numbers that chapter 7 quotes, by name."""
    record, work = block(), costs.Work.of("lent")
    tickets, barriers, unstable = (record[name] for name in NEEDED)
    counted = readings.count(tickets, barriers)
    found = [in_words(*half) for half in halves.halves(counted)]
    single = halves.halves(halves.count(halves.pairs(tickets["error"], barriers["height"]).levels(HIGHER)))
    theirs = halves.halves(verdicts.Contingency(*PUBLISHED["pairs"]))
    excess = readings.means(tickets, barriers).excess[:, -1]
    best = int(excess.argmin())
    paper = PRESETS["paper"].main.config.recipe.steps
    named = {
        "lent times the weights": f"{work.weights / costs.Work.of('book').weights:.0f}",
        "lent times the operations": f"{work.step_operations / costs.Work.of('book').step_operations:.0f}",
        "lent dense": percent(tickets["error"][0, 0].mean()),
        "lent best": points(-excess[best]),
        "lent best kept": percent(tickets["density"][best + 1], 0),
        "published dense": percent(PUBLISHED["error"][0] / 100),
        "published best": points((PUBLISHED["error"][0] - min(PUBLISHED["error"])) / 100, 2),
        "lent if": found[0],
        "lent only if": found[1],
        "lent if, single": in_words(*single[0]),
        "lent only if, single": in_words(*single[1]),
        "lent agreement": in_words(counted.both + counted.neither, sum(counted)),
        "lent by step": in_words(readings.told_by_step(tickets, barriers), sum(counted)),
        "lent last excess k=1000": points(excess[-1], 2),
        "lent highest barrier k=1000": points(barriers["height"][:, -1].max(), 2),
        "lent stable from": f"{readings.stable_from(unstable):,}",
        "lent stable share": percent(readings.stable_from(unstable) / PRESETS["lent"].main.config.recipe.steps, 0),
        "published stable share": percent(PUBLISHED["stable from"] / paper),
        "published pairs if": in_words(*theirs[0]),
        "published pairs only if": in_words(*theirs[1]),
        "published midway from step 0": "{} to {} %".format(*PUBLISHED["midway from step 0"]),
    }
    matched, joined = (levels[0] for levels in readings.last_levels(*published()))
    named |= {"published last matching": str(matched), "published last connected": str(joined)}
    return named | _each_block(record) | _each_scale(preset) | costs.numbers()


def _each_block(record):
    """The numbers quoted of single blocks and replicates, rewound to initialization but for the counts."""
    ridges, parts, named = record["successive_barriers"]["height"][:, 0], record.about["blocks"], {}
    first, second = (len(part["seeds"]) for part in parts[:2])
    for seed, last in zip(record.about["seeds"], ridges[-1], strict=True):
        named[f"lent last barrier, seed {seed}"] = points(last)
    one, other = (halves.halves(alone) for alone in list(by_block().values())[:2])
    return named | {
        "lent if, block 1": in_words(*one[0]),
        "lent if, block 2": in_words(*other[0]),
        "lent only if, block 2": in_words(*other[1]),
        "lent first barrier, block 1": points(ridges[0, :first].mean()),
        "lent last barrier, block 1": points(ridges[-1, :first].mean()),
        "lent lowest barrier, block 2": points(ridges[:, first : first + second].min()),
        "lent seconds, block 2": f"{sum(session['seconds'] for session in parts[1]['made']):,} seconds",
    }


def _each_scale(preset):
    """The numbers quoted of testbed and middle scale, and of all networks together, apart by stability."""
    testbed, pictures = (
        tuple(of(name) for of in (winning_tickets, successive_barriers, instability))
        for name in (preset, middle.PRESET)
    )
    resnet20 = tuple(block()[name] for name in NEEDED)
    stable, early = zip(*(readings.apart(*of_scale(*scale)) for scale in (testbed, pictures, resnet20)), strict=True)
    tickets, barriers, unstable = pictures
    counted = {
        "scale testbed": readings.count(*testbed[:2]), "middle": readings.count(tickets, barriers),
        "stable": readings.together(stable), "early": readings.together(early),
        "three scales": readings.together(stable + early),
    }  # fmt: skip
    other = {name: readings.apart(*one) for name, one in others(preset).items()}
    later, sooner = zip(*other.values(), strict=True)
    plain = [at_stable for name, (at_stable, _) in other.items() if name.startswith("plain")]
    counted |= {
        "others stable": readings.together(later), "others early": readings.together(sooner),
        "plain stable": readings.together(plain), "all stable": readings.together(stable + later),
        "all early": readings.together(early + sooner),
    }  # fmt: skip
    matched, joined = (levels[-1] for levels in readings.last_levels(tickets, barriers))
    named = {
        "middle last matching": str(matched),
        "middle last connected": str(joined),
        "middle least instability": points(unstable["height"].mean(-1).min()),
        **_limit(preset),
    }
    for name, one in counted.items():
        both = (in_words(*half) for half in halves.halves(one))
        named |= zip((f"{name} if", f"{name} only if"), both, strict=True)
    return named


def _limit(preset):
    """The numbers quoted of how much the dense network of the middle scale can lose at once."""
    seen, ends = spectra(middle.PRESET), descents(middle.PRESET)
    testbed = limits.of_step(spectra(preset), PRESETS[preset].tickets.control_step)
    sharper = seen["largest"][0].mean() / testbed["largest"][0].mean()
    return {
        "middle limit magnitude": percent(limits.by_loss(ends, limits.EPSILON, limits.MAGNITUDE), 0),
        "middle limit spread": points(rules.spread(seen, ends), 0),
        "middle sharper": f"{sharper:.0f}",
    }
