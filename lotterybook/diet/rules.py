"""The rules of chapter 6: what counts for and against three papers on data, and five questions of our own.

They were written before any record of this chapter was made. Of the three papers the abstracts were read; a row tests a
statement of one of them at this scale. All compare means over replicates, and *half a point* is the tolerance of the
other chapters.
"""

from ..barriers.halves import EPSILON, HIGHER, halves, judge, within
from ..settings import ORDERS
from ..verdicts import FAILS, HOLDS, PARTLY, UNTESTED, Verdict, grade, majority, percent, points
from . import ranks, readings

EASIEST, RANDOM, HARDEST = range(len(ORDERS))  # places of the orders in the records
HALF = 0.5  # of the examples, what the abstract of Paul et al. (2021) prunes
ALIKE, ALIKE_PARTLY = 0.75, 0.5  # rank correlation from which the scores of two networks agree, or agree in part


# What the abstracts say


def half_is_enough(scores, pruned) -> Verdict:
    """Paul et al. (2021): half of CIFAR-10 can be pruned by EL2N while the accuracy slightly improves."""
    size = readings.place(pruned["size"], scores["score"].shape[-1])
    share = readings.place(pruned["share"], HALF)
    hard, chance, full = pruned["error"][size, HARDEST, share], pruned["error"][size, RANDOM, share], pruned["full"]
    as_full, better = bool(within(hard.mean() - full[size].mean(), EPSILON)), bool(hard.mean() < chance.mean())
    return Verdict(
        "Paul et al. 2021: half of the examples can be pruned by EL2N without loss",
        f"dense networks trained on the hardest {percent(pruned['share'][share], 0)} of the usual training set: holds "
        "if their mean error is at most half a point above that with all examples and below that with as many random "
        "ones, partly if only the second",
        f"hardest {percent(hard, 2)}, random {percent(chance, 2)}, all examples {percent(full[size], 2)}",
        HOLDS if as_full and better else PARTLY if better else FAILS,
    )


def noise_is_found(scores) -> Verdict:
    """Paul et al. (2021): the scores detect noisy examples."""
    here, many = readings.scored(scores), scores["score"].shape[-1]
    found = float(scores["auc"][here])
    return Verdict(
        "Paul et al. 2021: EL2N finds noisy examples",
        f"{percent(len(scores['wrong']) / many, 0)} of the labels are false; how often a false one has a higher mean "
        f"score than a true one, after {int(scores['step'][here])} steps: holds from .9, partly from .75; .5 is chance",
        f"{found:.3f}; of the {len(scores['wrong'])} highest scores {percent(scores['precision'][here], 0)} are false",
        grade(found),
    )


def scores_carry_over(scores) -> Verdict:
    """Paul et al. (2021): scores from one architecture generalize to others."""
    found = float(ranks.correlation(scores["score"][readings.scored(scores)], scores["other"]))
    return Verdict(
        "Paul et al. 2021: the scores of one architecture serve another",
        f"rank correlation of the mean scores by our two networks, residual and plain: holds from {ALIKE}, partly from "
        f"{ALIKE_PARTLY}",
        f"rank correlation {found:.2f}".replace("-", "−"),
        grade(found, ALIKE, ALIKE_PARTLY),
    )


def random_part_suffices(early, k) -> Verdict:
    """Paul et al. (2022): with the number of steps held, a small random part gives as good a start for IMP."""
    some = readings.starts(early)
    (whole,) = readings.pick(some, k, None)
    level, tried = readings.reach(whole.error, readings.dense(early)), readings.pick(some, k, "random")
    good = [readings.as_good(one, whole, level) for one in tried]
    gaps = "; ".join(f"{one.name} {points(readings.gap(one, whole, level), 2)}" for one in tried)
    return Verdict(
        "Paul et al. 2022: as many steps on a small random part of the data start IMP as well",
        f"rewind points of {k} steps; at the last level at which IMP matches if they saw all examples: holds if the "
        "mean error from each random part is at most half a point higher, partly if from some; no verdict if IMP "
        "matches at no level",
        f"at {percent(early['density'][level], 0)} of the weights, above the error with all examples: {gaps}"
        if level > 0
        else "IMP matches at no level",
        UNTESTED if level < 1 or not good else HOLDS if all(good) else PARTLY if any(good) else FAILS,
    )


def easy_needs_fewer_steps(early, k) -> Verdict:
    """Paul et al. (2022): with easy data alone, fewer steps give a good start for IMP."""
    some, first = readings.starts(early), int(early["all_step"].min())
    (whole,), (soon,) = readings.pick(some, k, None), readings.pick(some, first, None)
    level = readings.reach(whole.error, readings.dense(early))
    pairs = [(one, readings.pick(some, first, "random", one.share)) for one in readings.pick(some, first, "easiest")]
    pairs = [(one, other[0]) for one, other in pairs if other]
    good = [readings.as_good(one, whole, level) and not readings.as_good(other, whole, level) for one, other in pairs]
    less = [max(readings.gap(one, other, level), readings.gap(one, soon, level)) < 0 for one, other in pairs]
    nothing_to_gain = level < 1 or first == k or readings.as_good(soon, whole, level) or not pairs
    gaps = "; ".join(f"{one.name} {points(readings.gap(one, whole, level), 2)}" for pair in pairs for one in pair)
    return Verdict(
        "Paul et al. 2022: with easy data alone, fewer steps do",
        f"at the last level at which IMP matches from step {k} with all examples: holds if from step {first} some easy "
        "part gives a mean error at most half a point above that, and as large a random part does not; partly if some "
        "easy part gives a lower mean error than as large a random part and than all examples, from the same step; no "
        f"verdict if all examples give as good a start at step {first}",
        f"from step {first}, above all examples at step {k}: {gaps}; all examples "
        f"{points(readings.gap(soon, whole, level), 2)}"
        if level > 0
        else "IMP matches at no level",
        UNTESTED if nothing_to_gain else HOLDS if any(good) else PARTLY if any(less) else FAILS,
    )


def choice_beats_chance(pruned) -> Verdict:
    """Sorscher et al. (2022): with a good metric the error falls faster with the number of examples than by chance."""
    largest = int(pruned["size"].argmax())
    error = pruned["error"][largest].mean(-1)
    least = readings.place(pruned["share"], float(pruned["share"].min()))
    return Verdict(
        "Sorscher et al. 2022: examples chosen by a good score are worth more than as many random ones",
        "dense networks on shares of the largest training set: holds if at each share the hardest examples give a "
        "lower mean error than random ones, partly if at half of the shares; that the error then falls faster than by "
        "a power law, which the abstract says, is not tested",
        f"with {int(pruned['examples'][largest, least]):,} of {int(pruned['size'][largest]):,} examples: hardest "
        f"{percent(error[HARDEST, least], 2)}, random {percent(error[RANDOM, least], 2)}",
        majority((error[HARDEST] < error[RANDOM]).tolist()),
    )


# Questions of our own


def hard_start_is_worse(early, k) -> Verdict:
    """Whether a rewind point that saw hard examples alone is worse than one that saw as many random ones."""
    some = readings.starts(early)
    (whole,) = readings.pick(some, k, None)
    level = readings.reach(whole.error, readings.dense(early))
    found = [
        (one.step, readings.gap(one, other, level))
        for one in readings.pick(some, order="hardest")
        for other in readings.pick(some, one.step, "random", one.share)
    ]
    told = "; ".join(f"step {step} {points(value, 2)}" for step, value in found)
    return Verdict(
        "Steps on the hardest examples alone start IMP worse than steps on as many random ones",
        "mean error from a start on the hardest examples minus that from random ones, at the last level at which IMP "
        f"matches from step {k} with all examples; holds if it is above half a point at each step tried, partly if at "
        "half of them",
        f"hardest minus random: {told}" if level > 0 and told else "no case",
        majority([value > EPSILON for _, value in found]) if level > 0 else UNTESTED,
    )


def best_order_depends_on_size(pruned) -> Verdict:
    """Whether the hardest examples serve better the more examples there are to choose from."""
    order, least = pruned["size"].argsort(), readings.place(pruned["share"], float(pruned["share"].min()))
    error = pruned["error"][order][:, :, least].mean(-1)
    gaps = (error[:, HARDEST] - error[:, EASIEST]).tolist()
    falls = len(gaps) > 1 and all(b < a for a, b in zip(gaps, gaps[1:], strict=False))
    told = ", ".join(points(value, 1) for value in gaps)
    sizes = " to ".join(f"{int(pruned['size'][order[i]]):,}" for i in (0, -1))
    return Verdict(
        "The more examples there are, the more it pays to keep the hard ones",
        "at the smallest share kept, mean error with the hardest examples minus that with the easiest, by size of the "
        "training set; holds if it falls with each size, from above to below zero, partly if it falls",
        f"{told} for sets of {sizes}",
        FAILS if not falls else HOLDS if gaps[0] > 0 > gaps[-1] else PARTLY,
    )


def weights_are_cheaper(fed) -> Verdict:
    """Whether, at equal work, a network loses less by pruning weights than by pruning examples."""
    share, place, level = readings.equal_work(fed)
    weights, examples = fed["all_error"][level], fed["error"][:, place, 0]
    told = _by_order(fed["order"], examples, 2)
    return Verdict(
        "At equal work, pruning weights costs less than pruning examples",
        f"mean error with the share of the weights nearest to {percent(share, 0)} and all examples, against that of "
        f"dense networks on {percent(share, 0)} of the examples; holds if the first is lower by more than half a point "
        "than with each choice of the examples, partly with one",
        f"weights {percent(weights, 2)}; examples: {told}",
        majority((examples.mean(-1) - weights.mean() > EPSILON).tolist()),
    )


def law_on_less(fed) -> Verdict:
    """Whether networks on less data are connected if and only if they match."""
    counted = readings.fed_count(fed)
    (both, match), (_, joined) = halves(counted)
    return Verdict(
        "Also on less data successive levels are connected if and only if they match",
        f"counted as in chapter 2, from level {HIGHER} on, over the orders and shares of the examples; a network "
        "matches if its mean error is at most half a point above that of the dense one on the same examples; same "
        "thresholds",
        f"*if*: {both} of {match}; *only if*: {both} of {joined}",
        judge(counted),
    )


def flatter_with_less(curved) -> Verdict:
    """Whether the valley at the end of training is flatter the fewer examples there are."""
    less, whole = curved["predicted"][:, :, 1, 0], curved["all_predicted"][1, 0]
    least = readings.place(curved["share"], float(curved["share"].min()))
    told = _by_order(curved["order"], less[:, least], 0)
    return Verdict(
        "With fewer examples the valley is flatter",
        "fraction of the dense network's weights that the curvature of its training loss allows to prune at random at "
        "once; holds if its mean is larger than with all examples for each order and share, partly for half of them",
        f"all examples {percent(whole, 0)}; the smallest share, {told}",
        majority((less.mean(-1) > whole.mean()).flatten().tolist()),
    )


def _by_order(orders, values, digits):
    pairs = zip(orders.tolist(), values, strict=True)
    return ", ".join(f"{ORDERS[order]} {percent(value, digits)}" for order, value in pairs)
