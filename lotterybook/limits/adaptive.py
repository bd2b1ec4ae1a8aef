"""Pruning as far as the landscape allows: our own rule, for runs of ``lotterylib.imp``."""

from dataclasses import dataclass

from lotterylib import checks, pruning, training


@dataclass(frozen=True)
class Adaptive:
    """Prune, at each level, the largest fraction whose projection raises the training loss by at most ``rise`` nats.

    The rise is the mean over all replicates of the run; fractions are whole multiples of ``step``, one at least. Raises
    ``ValueError`` for a value out of bounds.
    """

    rise: float
    step: float = 0.02

    def __post_init__(self):
        checks.within("rise", self.rise, 0, float("inf"), open_low=True, open_high=True)
        checks.within("step", self.step, 0, 0.5, open_low=True)

    def __call__(self, net, ds, state, mask):
        """The next mask, as ``imp.Config`` asks for it. Raises ``ValueError`` if one ``step`` would empty a layer."""
        x, y = ds.training_set()

        def loss(kept):
            return training.evaluate(net, pruning.apply(state, kept), x, y)[0].mean()

        limit, best, count = loss(mask) + self.rise, pruning.magnitude(state, mask, self.step), 2
        while count * self.step < 1:
            try:
                tried = pruning.magnitude(state, mask, count * self.step)
            except ValueError:  # it would empty a layer
                break
            if loss(tried) > limit:
                break
            best, count = tried, count + 1
        return best
