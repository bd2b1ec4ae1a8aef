"""The scales at which the book's experiments are run, in one table."""

from dataclasses import dataclass

from . import imp, training


@dataclass(frozen=True)
class Arm:
    """A network with the IMP configuration that it is run with."""

    network: str
    config: imp.Config


@dataclass(frozen=True)
class Preset:
    """The scale of all experiments.

    ``main`` and its contrast ``plain``, a network without BatchNorm; ``control_step``: rewind step of the controls, of
    ``main``'s; ``control_levels``: levels at which they are trained; ``instability_steps``: values of k at which dense
    instability is measured; ``points``: along one line; ``pair_points``: along each line of the all-pairs matrix and
    of the recalibrated barriers; ``plane_steps``: a side of the plane's grid; ``plane_level``: the level of its origin.
    """

    dataset: str
    main: Arm
    plain: Arm
    control_step: int
    control_levels: tuple
    instability_steps: tuple
    points: int
    pair_points: int
    plane_steps: int
    plane_level: int


def _testbed(steps, rewind_step, levels, replicates):
    recipe = training.Recipe(steps=steps, batch_size=128, lr=0.3, schedule="cosine", momentum=0.9, weight_decay=5e-4)
    return imp.Config(recipe=recipe, rewind_step=rewind_step, levels=levels, replicates=replicates)


PRESETS = {
    "smoke": Preset(
        dataset="mnist1d",
        main=Arm("cnn1d", _testbed(40, (0, 10, 20), levels=3, replicates=2)),
        plain=Arm("cnn1d_plain", _testbed(40, (0, 20), levels=2, replicates=2)),
        control_step=10, control_levels=(1, 3), instability_steps=(0, 20),
        points=3, pair_points=3, plane_steps=3, plane_level=1,
    ),
    "book": Preset(
        dataset="mnist1d",
        main=Arm("cnn1d", _testbed(1500, (0, 50, 100, 300), levels=13, replicates=6)),
        plain=Arm("cnn1d_plain", _testbed(1200, (0, 100, 200, 400), levels=12, replicates=4)),
        control_step=100, control_levels=(2, 4, 6, 8, 10, 12), instability_steps=(0, 10, 25, 50, 100, 200, 300),
        points=30, pair_points=7, plane_steps=25, plane_level=4,
    ),
}  # fmt: skip


