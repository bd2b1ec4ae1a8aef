"""What a preset sets: two networks and how they are trained, and a group of settings for each chapter."""

from dataclasses import dataclass

from lotterylib import checks, imp

ORDERS = ("easiest", "random", "hardest")  # which examples of a class are kept first, by their score


@dataclass(frozen=True)
class Arm:
    """A network, with its ``width`` and ``blocks`` if not the usual ones, and the IMP configuration it is run with."""

    network: str
    config: imp.Config
    width: int | None = None
    blocks: int | None = None

    @property
    def options(self):
        """What ``networks.build`` takes besides the name."""
        given = {"width": self.width, "blocks": self.blocks}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Tickets:
    """What chapter 1 sets. Rewind step and levels of its controls, and k at which dense instability is measured.

    ``points``: along the line of a barrier, in every chapter. ``fresh_levels``: of the control that trains a fresh
    initialization to the rewind step before it is masked; ``None``, without it.
    """

    control_step: int
    control_levels: tuple
    instability_steps: tuple
    points: int
    fresh_levels: tuple | None = None


@dataclass(frozen=True)
class Walk:
    """How a mask is found without rewinding: prune a solution, train it on inside the axial subspace, repeat.

    ``levels`` times, with ``steps`` of training from the rate ``lr`` down a cosine. The masks of ``return_levels`` are
    then put on the rewind points of ``return_steps``.
    """

    levels: int
    steps: int
    lr: float
    return_levels: tuple
    return_steps: tuple


@dataclass(frozen=True)
class Barriers:
    """What chapter 2 sets. ``pair_points``: along a line of all pairs, of a recalibrated barrier, of other networks.

    ``plane_steps``: a side of a plane's grid; ``plane_level``: the level of its origin. ``projection_points``: along
    the line from a projection; ``None``, as along any other. ``recalibrated_steps`` and ``recalibrated_replicates``:
    rewind steps, and replicates of each, whose pairs are measured with recalibrated statistics too. ``walk``: to a mask
    without rewinding. ``networks``: those beside the main one whose successive levels are compared. ``None``: without.
    """

    pair_points: int
    plane_steps: int
    plane_level: int
    projection_points: int | None = None
    recalibrated_steps: tuple | None = None
    recalibrated_replicates: int | None = None
    walk: Walk | None = None
    networks: tuple | None = None


@dataclass(frozen=True)
class Robustness:
    """What chapter 3 sets. ``levels``, three: initializations that are perturbed, ``scales``: how far.

    ``times``: steps at which the middle one is perturbed in training; ``replicates``: how many are. ``rewind_steps``:
    those that are perturbed (``None``: all); ``few_scales``: how far along the pruning direction and in the course of
    training (``None``: ``scales``); ``unit_levels``: further levels, at which a random perturbation of length 1 alone
    is tried (``None``: none, and without the experiment ``blows``).
    """

    levels: tuple
    scales: tuple
    times: tuple
    replicates: int
    rewind_steps: tuple | None = None
    few_scales: tuple | None = None
    unit_levels: tuple | None = None


@dataclass(frozen=True)
class Descent:
    """Trainings inside the axial subspace, from the projection: ``steps`` of the main recipe at a peak rate ``lr``.

    After pruning each fraction ``by_magnitude`` and ``at_random``, of the networks of ``rewind_steps`` (``None``: of
    those of ``Limits``).
    """

    steps: int
    lr: float
    by_magnitude: tuple
    at_random: tuple
    rewind_steps: tuple | None = None


@dataclass(frozen=True)
class Convergence:
    """How long a descent has to be: those of ``levels``, once for each of ``steps``, by as many replicates.

    ``by_magnitude`` and ``at_random``: for each level, the fractions that are pruned in this order.
    """

    levels: tuple
    steps: tuple
    replicates: int
    by_magnitude: tuple
    at_random: tuple


@dataclass(frozen=True)
class During:
    """The limit in the course of dense training: ``replicates``, and ``probes`` of ``iterations`` Lanczos steps."""

    replicates: int
    probes: int
    iterations: int


@dataclass(frozen=True)
class Overlap:
    """Where the ``count`` top eigenvectors lie, at ``levels``; ``iterations`` of Lanczos's method to begin with."""

    levels: tuple
    count: int
    iterations: int


@dataclass(frozen=True)
class Limits:
    """What chapter 4 sets. ``levels`` and ``replicates``: networks whose Hessians are looked at.

    With ``probes`` of ``iterations`` Lanczos steps, and exactly at ``exact_levels``; ``steps``: the same in dense
    training; ``descent_step``: from where on training inside the axial subspace runs; ``adaptive_rises``: thresholds
    of adaptive pruning, in nats.

    What may be ``None`` is as in the first edition then: ``epsilons``, sizes of a well in nats, six; ``rewind_steps``
    of those networks, all; ``descent`` from ``descent_step`` to the end of the schedule; ``exact_replicates``, and
    ``exact_examples`` of the training set, all; ``during``, with replicates and probes as at the end;
    ``adaptive_levels`` and ``adaptive_replicates``, those of the main run; no ``convergence``, no ``overlap``.
    """

    levels: tuple
    replicates: int
    steps: tuple
    exact_levels: tuple
    probes: int
    iterations: int
    descent_step: int
    adaptive_rises: tuple
    epsilons: tuple | None = None
    rewind_steps: tuple | None = None
    descent: Descent | None = None
    convergence: Convergence | None = None
    exact_replicates: int | None = None
    exact_examples: int | None = None
    during: During | None = None
    adaptive_levels: int | None = None
    adaptive_replicates: int | None = None
    overlap: Overlap | None = None


@dataclass(frozen=True)
class Retraining:
    """What chapter 5 sets. ``short_step``: from where on a short retraining runs.

    ``fine_rates``, ``fine_steps``: first rates and length of fine-tuning. ``cycle_levels``: those whose sparsity a
    fixed mask has that is trained as often as IMP prunes, with ``cycle_replicates``. ``None``: without.
    """

    short_step: int
    fine_rates: tuple | None = None
    fine_steps: int | None = None
    cycle_levels: tuple | None = None
    cycle_replicates: int | None = None


@dataclass(frozen=True)
class Diet:
    """What chapter 6 sets. ``replicates``: of all its trainings but those that score.

    Scores: the mean over ``score_replicates`` initializations after ``score_step`` steps, looked at after each of
    ``score_steps``; ``mislabelled``: share of the examples that get another label, to see whether scores find them.
    ``starts``: how rewind points are made, each ``(rewind step, order, share of the examples)``, and pruned down to
    ``start_levels``. ``sizes`` of the training set, of which each of ``shares`` is kept. ``both_orders`` and
    ``both_shares``: examples on which weights are pruned too, down to ``both_levels``, and of which ``spectrum_levels``
    are looked at, with ``probes`` of ``iterations`` Lanczos steps. Raises ``ValueError`` for an order that is not one
    of ``ORDERS``, a share that is not above 0 and at most 1, a step at which nothing is scored, or fewer than two
    initializations.
    """

    score_replicates: int
    score_steps: tuple
    score_step: int
    mislabelled: float
    replicates: int
    starts: tuple
    start_levels: int
    sizes: tuple
    shares: tuple
    both_orders: tuple
    both_shares: tuple
    both_levels: int
    spectrum_levels: tuple
    probes: int
    iterations: int

    def __post_init__(self):
        checks.whole("score_replicates", self.score_replicates, 2)
        checks.choice("score_step", self.score_step, self.score_steps)
        checks.within("mislabelled", self.mislabelled, 0, 1, open_low=True, open_high=True)
        for order in (*(order for _, order, _ in self.starts), *self.both_orders):
            checks.choice("order", order, ORDERS)
        for share in (*(share for *_, share in self.starts), *self.shares, *self.both_shares):
            checks.within("share", share, 0, 1, open_low=True)


@dataclass(frozen=True)
class Preset:
    """The scale of all experiments: two networks, and what each chapter sets.

    ``examples``: how many of the dataset's training examples are used, the first ones; ``None``, all of them.
    ``contrast``: a network to compare ``main`` with, without BatchNorm, or with a learning rate at which training is
    more stable. ``weights``: whether the levels' weights are published with the records, for chapters that go on from
    them. ``diet``: ``None``, without chapter 6.
    """

    dataset: str
    main: Arm
    contrast: Arm
    tickets: Tickets
    barriers: Barriers
    robustness: Robustness
    limits: Limits
    retraining: Retraining
    weights: bool = True
    examples: int | None = None
    diet: Diet | None = None
