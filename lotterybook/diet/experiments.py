"""Experiments of chapter 6: which examples are hard, which of them a ticket has to see, and when.

What they take in the preset ``book``, in thousands of replicate-steps: ``scores`` 65, ``early_data`` 590,
``pruned_data`` 190, ``both`` 260, ``landscape_of_data`` as much as 70 (and 255 more where the runs of ``both`` are not
there): about 1.2 million in all, or 75 minutes of two cores at 270 a second.
"""

from dataclasses import replace

import torch

from lotterylib import curvature, limits, training
from lotterylib.states import concatenate, select

from ..experiment import OTHER, append, experiment, stacked
from ..settings import ORDERS
from . import examples, ranks, starts

EDGE = 0.05  # of the examples at either end of the ranking whose classes are counted
SPLITS = 10  # ways to cut the initializations into halves
WELL = 0.02  # nats: the size of the well whose pruning limit is predicted

_RANKED = ("main", "diet.score_replicates", "diet.score_step")
_BOTH = (*_RANKED, "tickets.control_step", "diet.replicates", "diet.both_orders", "diet.both_shares",
         "diet.both_levels")  # fmt: skip


@experiment("main", "contrast", "diet.score_replicates", "diet.score_steps", "diet.score_step", "diet.mislabelled",
            only_with="diet")  # fmt: skip
def scores(s):
    """EL2N of the N training examples, from R initializations, after each ``step`` (T,) of training.

    ``score`` (T, N): the mean over initializations; ``spread`` (N,): their standard deviation at ``score_step``.
    ``other`` (N,): the mean by the contrasting network, there. Rank correlations: ``between`` (T, T) steps, ``halves``
    (T, S) of the initializations, cut at random, ``single`` (T, R): of one with the mean of the others. ``classes``
    (2, C): of the ``EDGE`` of all examples with the lowest and with the highest score at ``score_step`` ().

    With another label for some, ``wrong`` (n,): ``mislabelled`` (T, N), as ``score``; ``auc`` (T,) and ``precision``
    (T,), how well the mean finds them, ``auc_single`` and ``precision_single`` (T, R), how well one initialization.
    """
    about, config, found = s.preset.diet, s.preset.main.config, {}
    many, seed, steps = about.score_replicates, config.seed + OTHER, about.score_steps
    noisy, wrong = examples.mislabelled(s.ds, about.mislabelled, seed)
    both = [starts.scored(s.net(), ds, config.recipe, steps, many, seed) for ds in (s.ds, noisy)]
    for clean, false in zip(*both, strict=True):
        append(
            found, score=clean.mean, deviation=clean.std, halves=_halves(clean.each), mislabelled=false.mean,
            single=ranks.correlation(clean.each, (clean.each.sum(0) - clean.each) / (many - 1)),
            auc=ranks.auc(false.mean, wrong), auc_single=ranks.auc(false.each, wrong),
            precision=ranks.precision(false.mean, wrong), precision_single=ranks.precision(false.each, wrong),
        )  # fmt: skip
    found, here = stacked(found), steps.index(about.score_step)
    recipe = s.preset.contrast.config.recipe
    (other,) = starts.scored(s.net("contrast"), s.ds, recipe, (about.score_step,), many, seed)
    between = torch.stack([ranks.correlation(found["score"], one.expand_as(found["score"])) for one in found["score"]])
    ends = found["score"][here].argsort(), round(EDGE * len(other.mean)), s.ds.num_classes
    small = {"score": found.pop("score"), "mislabelled": found.pop("mislabelled"), "other": other.mean}
    small["spread"] = found.pop("deviation")[here]
    return {
        **found, "between": between, "classes": _classes(s.ds.train_y.cpu(), *ends), "wrong": wrong,
        "step": torch.tensor(steps), "score_step": torch.tensor(about.score_step),
        **{name: values.float() for name, values in small.items()},
    }  # fmt: skip


@experiment(*_RANKED, "diet.replicates", "diet.starts", "diet.start_levels", "barriers.pair_points", only_with="diet")
def early_data(s):
    """What the steps before the rewind point have to see: IMP on all data from points that saw a share of them.

    A starts, each trained densely to ``rewind_step`` (A,) on a ``share`` (A,) of the examples in ``order`` (A,), a
    place in ``ORDERS``; ``examples`` (A,) are so many. From there on each sees all examples: test ``error`` (A, levels
    + 1, R) and ``barrier`` to the level before (A, levels, R), at ``density`` (levels + 1,). For comparison the main
    run, whose steps before the rewind point see all examples too: ``all_error`` and ``all_barrier``, likewise, at
    ``all_step`` (K,).
    """
    about, points = s.preset.diet, s.preset.barriers.pair_points
    config = replace(s.preset.main.config, replicates=about.replicates, levels=about.start_levels)
    seeds, score, begun, seen = _seeds(s), _ranking(s), [], []
    initial = s.net().init(about.replicates, config.seed)
    for step, order, share in about.starts:
        portions = list(examples.portions(s.ds, score, share, order, seeds))
        begun.append(starts.trained(s.net(), portions, config.recipe, initial, seeds, step))
        seen.append(len(portions[0][0].train_y))
    steps, orders, shares = zip(*about.starts, strict=True)
    each_step = sorted(set(steps))
    after, folder = [k for k in steps for _ in seeds], s.folder / "early_data"
    path = starts.levels(s.net(), s.ds, config, concatenate(begun), after, seeds * len(begun), folder)
    own = starts.measured(s.net(), s.ds, [state for state, _ in path], points)
    whole = {}
    for k in each_step:
        run = s.run().first(about.replicates).at(k)
        states = [level.state for level in run.levels[: config.levels + 1]]
        append(whole, **starts.measured(s.net(), s.ds, states, points))
    return {
        **{name: values.unflatten(1, (len(begun), -1)).movedim(1, 0) for name, values in own.items()},
        **{f"all_{name}": values for name, values in stacked(whole).items()}, "all_step": torch.tensor(each_step),
        "rewind_step": torch.tensor(steps), "order": torch.tensor([ORDERS.index(order) for order in orders]),
        "share": torch.tensor(shares, dtype=torch.float64), "examples": torch.tensor(seen),
        "density": run.densities[: config.levels + 1],
    }  # fmt: skip


@experiment(*_RANKED, "diet.replicates", "diet.sizes", "diet.shares", only_with="diet")
def pruned_data(s):
    """Dense networks trained on a share of the examples, in as many steps as ever, for training sets of S sizes.

    Test ``error`` (S, 3, F, R), by ``size`` (S,) of the training set, order (``ORDERS``) and ``share`` (F,) kept;
    ``examples`` (S, F) are so many; ``full`` (S, R): the error with all of them. Each set is ranked by its own scores.
    """
    about, recipe, found = s.preset.diet, s.preset.main.config.recipe, {}
    seeds, folder = _seeds(s), s.folder / "training" / "pruned_data"
    initial = s.net().init(about.replicates, s.preset.main.config.seed)
    for size in about.sizes:
        ds = examples.pool(s.ds, size)
        score, every = _ranking(s, ds), list(range(len(seeds)))
        full = starts.trained(s.net(), [(ds, every)], recipe, initial, seeds, folder=folder)
        errors, kept = [], []
        for order in ORDERS:
            for share in about.shares:
                portions = list(examples.portions(ds, score, share, order, seeds))
                errors.append(s.error(starts.trained(s.net(), portions, recipe, initial, seeds, folder=folder)))
                kept.append(len(portions[0][0].train_y))
        errors = torch.stack(errors).unflatten(0, (len(ORDERS), -1))
        kept = torch.tensor(kept[: len(about.shares)])
        append(found, full=s.error(full), error=errors, examples=kept, size=torch.tensor(len(ds.train_y)))
    return {**stacked(found), "share": torch.tensor(about.shares, dtype=torch.float64)}


@experiment(*_BOTH, "barriers.pair_points", only_with="diet")
def both(s):
    """Weights and examples pruned together: IMP, rewound to ``control_step``, on a share of the examples throughout.

    Test ``error`` (O, F, levels + 1, R) and ``barrier`` to the level before (O, F, levels, R), by ``order`` (O,), a
    place in ``ORDERS``, and ``share`` (F,) of the examples, of which ``examples`` (F,) are left, at ``density`` (levels
    + 1,). ``all_error`` (levels + 1, R) and ``all_barrier`` (levels, R): the main run, on all of them.
    """
    about, points, found = s.preset.diet, s.preset.barriers.pair_points, {}
    for _, path, portions in _fed(s):
        states = [state for state, _ in path]
        seen = torch.tensor(len(portions[0][0].train_y))
        append(found, examples=seen, **starts.measured(s.net(), s.ds, states, points))
    found = {name: values.unflatten(0, (len(about.both_orders), -1)) for name, values in stacked(found).items()}
    run = _all(s)
    whole = starts.measured(s.net(), s.ds, [level.state for level in run.levels], points)
    return {
        **found, **{f"all_{name}": values for name, values in whole.items()}, **_shares(s),
        "examples": found["examples"][0], "density": run.densities,
    }  # fmt: skip


@experiment(*_BOTH, "diet.spectrum_levels", "diet.probes", "diet.iterations", only_with="diet")
def landscape_of_data(s):
    """The Hessian's spectrum of the networks of ``both``, of each one's loss on the examples that it was trained on.

    ``largest`` (O, F, n, R) eigenvalue, ``predicted`` (O, F, 2, n, R): Gordon's fraction in a well of ``WELL`` nats, by
    magnitude and at random, ``loss`` (O, F, n, R) in nats, at ``level`` (n,), by ``order`` (O,) and ``share`` (F,).
    ``all_largest`` (n, R) and so on: of the main run, on all examples.
    """
    about, found = s.preset.diet, {}
    for _, path, portions in _fed(s):
        append(found, **_curved(s, [path[level] for level in about.spectrum_levels], portions))
    found = {name: values.unflatten(0, (len(about.both_orders), -1)) for name, values in stacked(found).items()}
    run = _all(s)
    chosen = [(run[level].state, run[level].mask) for level in about.spectrum_levels]
    whole = _curved(s, chosen, [(s.ds, list(range(about.replicates)))])
    return {
        **found, **{f"all_{name}": values for name, values in whole.items()}, **_shares(s),
        "level": torch.tensor(about.spectrum_levels), "density": run.densities[list(about.spectrum_levels)],
    }  # fmt: skip


def _ranking(s, ds=None):
    """EL2N of the examples of a dataset, by default the preset's, at ``score_step``: the mean, (N,)."""
    about, config = s.preset.diet, s.preset.main.config
    steps, many = (about.score_step,), about.score_replicates
    (found,) = starts.scored(s.net(), ds or s.ds, config.recipe, steps, many, config.seed + OTHER)
    return found.mean


def _seeds(s):
    """Seeds of the replicates, those of the main run."""
    first = s.preset.main.config.seed
    return list(range(first, first + s.preset.diet.replicates))


def _halves(each):
    """Rank correlation of the means over two halves of the initializations (R, N), cut in ``SPLITS`` ways, (S,)."""
    found = []
    for split in range(SPLITS):
        order = torch.randperm(len(each), generator=torch.Generator().manual_seed(split))
        one, other = (each[part].mean(0) for part in order.tensor_split(2))
        found.append(ranks.correlation(one, other))
    return torch.stack(found)


def _classes(labels, ranking, count, classes):
    """How many of the ``count`` first and last examples of a ranking are of each class, (2, C)."""
    ends = ranking[:count], ranking[-count:]
    return torch.stack([torch.bincount(labels[rows], minlength=classes) for rows in ends])


def _fed(s):
    """Yield for each order and share of the examples its name, the levels of IMP on them, and the portions."""
    about, config = s.preset.diet, s.preset.main.config
    k, folder = s.preset.tickets.control_step, s.folder / "imp_fed"
    config = replace(config, rewind_step=k, levels=about.both_levels, replicates=about.replicates)
    score = _ranking(s)
    for order in about.both_orders:
        for share in about.both_shares:
            portions = list(examples.portions(s.ds, score, share, order, _seeds(s)))
            yield (order, share), starts.fed(s.net(), portions, config, folder), portions


def _all(s):
    """The main run at the same rewind step, of as many replicates and levels."""
    run = s.run().first(s.preset.diet.replicates).at(s.preset.tickets.control_step)
    return replace(run, levels=run.levels[: s.preset.diet.both_levels + 1])


def _shares(s):
    """The axes of what is measured on orders and shares."""
    about = s.preset.diet
    order = torch.tensor([ORDERS.index(order) for order in about.both_orders])
    return {"order": order, "share": torch.tensor(about.both_shares, dtype=torch.float64)}


def _curved(s, path, portions):
    """What ``landscape_of_data`` records of states and masks at n levels, each replicate on its own examples."""
    about, found = s.preset.diet, {}
    for state, mask in path:
        each = {}
        for ds, rows in portions:
            (x, y), own, keep = ds.training_set(), select(state, rows), select(mask, rows)
            seen = curvature.spectrum(s.net(), own, x, y, keep, about.probes, about.iterations)
            weights = curvature.weights(own, keep)
            promised = torch.tensor([
                [limits.gordon_fraction(*nodes, order) for order in limits.ORDERS] for nodes in _nodes(seen, weights)
            ], dtype=torch.float64)  # fmt: skip
            for name, values in {
                "largest": seen.eigenvalues.amax((1, 2)), "predicted": promised.T,
                "loss": training.evaluate(s.net(), own, x, y)[0],
            }.items():  # fmt: skip
                each.setdefault(name, []).append(values)
        append(found, **{name: torch.cat(values, -1) for name, values in each.items()})
    found = stacked(found)
    return {**found, "predicted": found["predicted"].movedim(1, 0)}


def _nodes(seen, weights):
    """What ``gordon_fraction`` takes of each replicate: eigenvalues, weights, size of the well, quadrature."""
    for r, own in enumerate(weights):
        values, shares = seen.nodes(r)
        yield values, own, WELL, shares
