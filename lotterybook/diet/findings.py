"""Findings of chapter 6: which examples a ticket has to see, and when.

Two tables of verdicts: on what the abstracts of three papers say of data, and on five questions of our own. Their rules
stand in ``rules``, since before any record of this chapter was made.
"""

from ..barriers.halves import halves
from ..presets import PRESETS
from ..settings import ORDERS
from ..tickets.experiments import winning_tickets
from ..verdicts import Table, Text, Verdict, percent, points, rewind_steps, table
from . import experiments, ranks, readings, rules
from .rules import EASIEST


def verdict(scores, early, pruned, k) -> Table:
    """The verdicts on what the three abstracts say, from the records of their figures; ``k``: the control step."""
    return Table([
        rules.half_is_enough(scores, pruned), rules.noise_is_found(scores), rules.scores_carry_over(scores),
        rules.random_part_suffices(early, k), rules.easy_needs_fewer_steps(early, k), rules.choice_beats_chance(pruned),
    ])  # fmt: skip


def questions(early, pruned, fed, curved, k) -> Table:
    """The verdicts on questions of our own."""
    return Table([
        rules.hard_start_is_worse(early, k), rules.best_order_depends_on_size(pruned), rules.weights_are_cheaper(fed),
        rules.law_on_less(fed), rules.flatter_with_less(curved),
    ])  # fmt: skip


def row(preset) -> Verdict:
    """The row nearest to the thread of the book: what the steps before the rewind point have to see."""
    return rules.random_part_suffices(experiments.early_data(preset), PRESETS[preset].tickets.control_step)


def starts(record) -> Text:
    """All rewind points of ``early_data``, how far IMP matches from them, and where its levels part: a table."""
    dense, rows = readings.dense(record), []
    for one in readings.starts(record):
        level = readings.reach(one.error, dense)
        rows.append([
            f"{one.step}", one.name, percent(record["density"][level], 0) if level > 0 else "none",
            percent(one.error[level], 2) if level > 0 else "–", points(one.barrier.mean(-1).max(), 1),
            percent(one.error[-1], 2),
        ])  # fmt: skip
    last = percent(record["density"][-1], 0)
    header = ["k", "seen before", "matches down to", "error there", "highest mean barrier", f"error at {last}"]
    return table(header, rows)


def sizes(record) -> Text:
    """Errors of dense networks by size of the training set, share kept and order: a table."""
    rows = []
    for size, full, errors, kept in zip(*(record[n] for n in ("size", "full", "error", "examples")), strict=True):
        rows.append([f"{int(size):,}", "all", *[percent(full, 2)] * len(ORDERS)])
        for i, count in enumerate(kept.tolist()):
            rows.append([f"{int(size):,}", f"{count:,}", *(percent(error[i], 2) for error in errors)])
    return table(["training set", "kept", *ORDERS], rows)


def _all(preset):
    """The five records of the room."""
    return (
        experiments.scores(preset), experiments.early_data(preset), experiments.pruned_data(preset),
        experiments.both(preset), experiments.landscape_of_data(preset),
    )  # fmt: skip


def sentences(preset) -> list:
    """What was found, in plain sentences for the editor."""
    scores, early, pruned, fed, curved = _all(preset)
    return [*_ranked(scores), *_begun(early), *_pruned(pruned), *_fed(fed, curved)]


def _ranked(record):
    here = readings.scored(record)
    for i, k in enumerate(record["step"].tolist()):
        yield (
            f"At step {k} the rank correlation between halves of the initializations is "
            f"{record['halves'][i].mean():.2f}, of a single one with the others {record['single'][i].mean():.2f}, with "
            f"the ranking that serves {record['between'][here, i]:.2f}; of false labels the mean finds with AUC "
            f"{record['auc'][i]:.3f} (precision {percent(record['precision'][i], 0)}), one initialization with "
            f"{record['auc_single'][i].mean():.3f}."
        )
    yield f"Classes of the easiest and the hardest twentieth: {record['classes'].tolist()}."
    yield f"By the plain network: rank correlation {ranks.correlation(record['score'][here], record['other']):.2f}."


def _begun(record):
    dense = readings.dense(record)
    for one in readings.starts(record):
        level = readings.reach(one.error, dense)
        errors = ", ".join(f"{100 * float(value):.2f}" for value in one.error.mean(-1))
        barriers = ", ".join(f"{100 * float(value):.2f}" for value in one.barrier.mean(-1))
        yield (
            f"From step {one.step}, {one.name}: matches down to level {level}; mean errors by level {errors}; mean "
            f"barriers {barriers}."
        )


def _pruned(record):
    for size, full, errors, kept in zip(*(record[n] for n in ("size", "full", "error", "examples")), strict=True):
        told = "; ".join(
            f"{order} {', '.join(f'{percent(error, 2)} on {count:,}' for error, count in zip(one, kept, strict=True))}"
            for order, one in zip(ORDERS, errors, strict=True)
        )
        yield f"Of {int(size):,} examples (all: {percent(full, 2)}): {told}."


def _fed(record, curved):
    whole = record["all_error"].mean(-1)
    yield f"On all examples, mean errors by level: {', '.join(f'{100 * float(value):.2f}' for value in whole)}."
    for order, *of_order in zip(*(record[n] for n in ("order", "error", "barrier")), strict=True):
        for share, errors, barriers in zip(record["share"], *of_order, strict=True):
            told = ", ".join(f"{100 * float(value):.2f}" for value in errors.mean(-1))
            joined = ", ".join(f"{100 * float(value):.2f}" for value in barriers.mean(-1))
            kept = percent(share, 0)
            yield f"On the {ORDERS[int(order)]} {kept}: mean errors by level {told}; mean barriers {joined}."
    for n, level in enumerate(curved["level"].tolist()):
        told = "; ".join(
            f"{ORDERS[int(order)]} {percent(share, 0)} {percent(curved['predicted'][i, j, 1, n], 0)} (largest "
            f"{curved['largest'][i, j, n].mean():.1f})"
            for i, order in enumerate(curved["order"]) for j, share in enumerate(curved["share"])
        )  # fmt: skip
        yield (
            f"At level {level} the curvature allows to prune at random {percent(curved['all_predicted'][1, n], 0)} "
            f"after all examples (largest eigenvalue {curved['all_largest'][n].mean():.1f}); {told}."
        )


def numbers(preset="book") -> dict:
    """The numbers that chapter 6 quotes, by name."""
    scores, early, pruned, fed, curved = _all(preset)
    k = PRESETS[preset].tickets.control_step
    blank = winning_tickets(preset)
    return _of_scores(scores) | _of_starts(early, blank, k) | _of_sizes(pruned) | _of_both(fed, curved)


def _of_scores(record):
    here = readings.scored(record)
    return {
        "EL2N halves": f"{record['halves'][here].mean():.2f}", "EL2N single": f"{record['single'][here].mean():.2f}",
        "EL2N plain network": f"{ranks.correlation(record['score'][here], record['other']):.2f}",
        "EL2N easiest classes": f"{int((record['classes'][EASIEST] > 0).sum())}",
        "EL2N precision": percent(record["precision"][here], 0),
        "EL2N precision single": percent(record["precision_single"][here].mean(), 0),
        "EL2N precision last": percent(record["precision"][-1], 0),
    }  # fmt: skip


def _of_starts(record, blank, k):
    """``blank``: the winning tickets, among which are those from the initialization, which has seen nothing."""
    some = readings.starts(record)
    (whole,) = readings.pick(some, k, None)
    level = readings.reach(whole.error, readings.dense(record))
    gaps = {f"start {one.name} k={one.step}": points(readings.gap(one, whole, level), 2) for one in some}
    ridges = {f"start barrier {one.name} k={one.step}": points(one.barrier[level - 1].mean()) for one in some}
    begin = blank["error"][level, rewind_steps(blank).index(0)].mean() - whole.error[level].mean()
    nothing = {"start initialization": points(begin, 2)}
    return {"starts weights": percent(record["density"][level], 0), **gaps, **ridges, **nothing}


def _of_sizes(record):
    named = {}
    for size, full, errors in zip(record["size"].tolist(), record["full"], record["error"], strict=True):
        named[f"error all of {size}"] = percent(full, 2)
        for order, one in zip(ORDERS, errors, strict=True):
            for share, error in zip(record["share"], one, strict=True):
                named[f"error {order} {percent(share, 0)} of {size}"] = percent(error, 2)
    return named


def _of_both(record, curved):
    share, place, level = readings.equal_work(record)
    named = {"work": percent(share, 0), "work weights": percent(record["all_error"][level], 2)}
    named["valley all"] = percent(curved["all_predicted"][1, 0], 0)
    named["largest all"] = f"{curved['all_largest'][0].mean():.1f}"
    half, half_weights = readings.place(record["share"], 0.5), readings.place(record["density"], 0.5)
    (part, whole), (other, others) = halves(readings.fed_count(record))
    named |= {"fed if": f"{part} of {whole}", "fed only if": f"{other} of {others}"}
    for i, order in enumerate(record["order"].tolist()):
        named[f"work {ORDERS[order]}"] = percent(record["error"][i, place, 0], 2)
        named[f"work half of each {ORDERS[order]}"] = percent(record["error"][i, half, half_weights], 2)
        named[f"valley {ORDERS[order]}"] = percent(curved["predicted"][i, place, 1, 0], 0)
        named[f"largest {ORDERS[order]}"] = f"{curved['largest'][i, place, 0].mean():.1f}"
    return named
