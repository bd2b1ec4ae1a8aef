"""A mask found without rewinding: a solution is pruned and trained on inside the axial subspace, again and again."""

from dataclasses import replace

from lotterylib import pruning, training


def walk(net, ds, config, plan, state, seeds, folder):
    """Yield ``(state, mask)`` of every level of a walk from a dense ``state``, the dense one first.

    ``config``: that of the run which ``state`` is from, for recipe and fraction; ``plan``: a ``settings.Walk``. Nothing
    is rewound: weights go on from where they are, with momentum from zero. ``seeds``: of the data order, the same at
    every level. ``folder`` keeps the trainings.
    """
    recipe = replace(config.recipe, steps=plan.steps, lr=plan.lr, schedule="cosine")
    mask = pruning.full(net, state)
    yield state, mask
    for level in range(1, plan.levels + 1):
        mask = pruning.magnitude(state, mask, config.fraction)
        state = training.train(net, state, ds, recipe, mask, 0, None, seeds, folder / f"walk_{level}")
        yield state, mask


def shared(mask, other):
    """Share of a mask's weights that another mask keeps too, ``(R,)``, float64."""
    both = {name: keep & other[name] for name, keep in mask.items()}
    return (pruning.remaining(both).double() / pruning.remaining(mask)).cpu()
