"""The book's experiments: each is one function that composes the public interface and returns arrays.

Called as ``experiments.winning_tickets("book")`` an experiment gives its record, or runs and records itself. From a
shell, ``python -m lotterylib.experiments --preset book`` makes all records of a preset again.
"""

import argparse
import shutil

from .. import checks, records
from ..presets import PRESETS
from .barriers import all_pairs, failing_masks, plane, projections, successive_barriers
from .limits import adaptive, descents, during_training, exact, projected, spectra
from .retraining import histograms, refilling, without_retraining
from .robustness import forgiveness, return_path, return_plane, robustness
from .shared import EXPERIMENTS, OTHER, Setup, record, setup
from .tickets import contrast, controls, instability, winning_tickets

__all__ = [
    "EXPERIMENTS", "OTHER", "PRESETS", "Setup", "adaptive", "all_pairs", "contrast", "controls", "descents",
    "during_training", "exact", "failing_masks", "forgiveness", "histograms", "instability", "plane", "projected",
    "projections", "refilling", "return_path", "return_plane", "robustness", "setup", "spectra", "successive_barriers",
    "winning_tickets", "without_retraining",
]  # fmt: skip


def main(arguments=None):
    """Make records again: all of a preset from nothing, or those named on the runs that are published."""
    parser = argparse.ArgumentParser(prog="python -m lotterylib.experiments", description=main.__doc__)
    parser.add_argument("names", nargs="*", help=f"experiments (default: all): {', '.join(EXPERIMENTS)}")
    parser.add_argument("--preset", required=True, help=", ".join(PRESETS))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        names = [checks.choice("experiment", name, EXPERIMENTS) for name in options.names] or list(EXPERIMENTS)
        shared = setup(options.preset, options.device, recompute=not options.names)
    except ValueError as error:
        parser.error(str(error))
    for name in names:
        made = record(name, shared, recompute=True)
        print(f"{name}: {made.about['seconds']} s on {made.about['device']}, {made.about['date']}", flush=True)
    records.publish(options.preset, ["imp_main"] if shared.preset.weights and not options.names else [])
    if not options.names:
        shutil.rmtree(records.work_folder() / options.preset)
