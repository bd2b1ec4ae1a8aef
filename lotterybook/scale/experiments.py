"""Experiments of chapter 7: those of chapters 1 and 2 that are recorded at several scales, and published numbers."""

from .. import records
from ..presets import PRESETS

NEEDED = ("winning_tickets", "successive_barriers", "instability")

# ResNet-20 on CIFAR-10 in notebooks of github.com/mansheej/lth_diet, by authors of the paper: 4 replicates, 20 % a
# level. Test error in percent at levels 0 to 15, rewound to step 1000; error in percent halfway between levels L and
# L + 1, read from their figure by eye, for L = 10 to 14 (up to there it is that of the ends), and from step 0, where
# it is alike for all levels. Of the pairs of levels 4 to 15 and six rewind steps, also read by eye, in their figure of
# the error halfway: how many match and are connected, only match, are only connected, are neither, each up to half a
# point. Frankle et al. (2020) found a dense ResNet-20 stable from step 2000 on.
PUBLISHED = {
    "error": (8.35, 8.23, 8.18, 8.10, 8.16, 8.13, 8.15, 8.23, 8.34, 8.54, 8.96, 9.63, 10.14, 11.69, 12.94, 14.28),
    "midway": {10: 13, 11: 14.5, 12: 30, 13: 43, 14: 57},
    "midway from step 0": (87, 90),
    "rewind_step": 1000, "rewind_steps": (0, 100, 250, 500, 1000, 2000), "replicates": 4,
    "pairs": (19, 1, 3, 49),
    "stable from": 2000,
}  # fmt: skip


def scales(preset="book"):
    """The presets to compare: ``smoke`` by itself, otherwise the given one and all whose records are published."""
    if preset == "smoke":
        return [preset]

    def recorded(name):
        return all((records.PUBLISHED / name / f"{needed}.safetensors").exists() for needed in NEEDED)

    return [name for name in PRESETS if name != "smoke" and (name == preset or recorded(name))]
