"""The command that makes records: ``python -m lotterybook --preset book``, or ``make records PRESET=book``."""

import argparse
import contextlib
import shutil

from lotterylib import checks

from . import records
from .claims import EXPERIMENTS  # of all rooms, which the claims import
from .experiment import experiments_of, record, setup
from .presets import PRESETS
from .scale.costs import forecast, time_left


def main(arguments=None):
    """Make records again and publish them: all of a preset from nothing, or those named on the runs that are published.

    After an interruption the same command goes on. Nothing but what was asked for is published.
    """
    parser = argparse.ArgumentParser(prog="python -m lotterybook", description=main.__doc__)
    parser.add_argument("names", nargs="*", help=f"experiments (default: all): {', '.join(EXPERIMENTS)}")
    parser.add_argument("--preset", required=True, help=", ".join(PRESETS))
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as held:
        try:
            names = [checks.choice("experiment", name, EXPERIMENTS) for name in options.names]
            shared = setup(options.preset, recompute=not options.names, device=options.device)
            held.enter_context(records.reserved(options.preset, alone=not names))
        except ValueError as error:
            parser.error(str(error))
        _make(shared, names)


def _make(shared, names):
    """Make and publish the records of these names, or all of the preset with its run, from nothing."""
    if not names:
        print(*forecast(shared.name), sep="\n", flush=True)
    made, chosen = {}, names or experiments_of(shared.name)
    for name in chosen:
        made[name] = record(name, shared, recompute=True)
        about, left = made[name].about, time_left(shared.name, made, chosen)
        print(f"{name}: {about['seconds']} s on {about['device']}, {about['date']}; about {left} left", flush=True)
    print(f"in all {sum(one.about['seconds'] for one in made.values()) / 3600:.2f} hours", flush=True)
    records.publish(shared.name, made, {} if names else shared.finished_runs(), shared.device)
    if not names:
        shutil.rmtree(records.work_folder(shared.name))


if __name__ == "__main__":
    main()
