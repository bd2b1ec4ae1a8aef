"""Independent calls through joblib: what fails is named, and everything else is done.

They run here one after the other, in processes of their own, or on a cluster, as joblib's own context says::

    client = dask.distributed.Client("scheduler:8786")
    with joblib.parallel_config(backend="dask"):
        jobs.each(calls)
"""

import os
import traceback

from joblib import Parallel, delayed

from lotterylib import checks, progress


class Failed(RuntimeError):
    """Some jobs failed and all others are done; ``failed`` has the traceback of each by its name."""

    def __init__(self, failed):
        self.failed = failed
        told = "".join(f"\n  {name}: {text.strip().splitlines()[-1]}" for name, text in failed.items())
        super().__init__(f"jobs failed: {len(failed)}. The others are done, and the same call tries only these:{told}")


def each(calls, n_jobs=None, sizes=None) -> list:
    """Make calls ``(name, function, *arguments)`` that do not need each other; their results in this order.

    ``n_jobs``: processes, as joblib counts them; ``None``: what its context says, or 1. ``sizes``: how much each call
    counts in the time that is left. A call that raises stops no other: in the end one ``Failed`` names all of them.
    Raises ``ValueError`` before the first call for two of one name and for no process at all.
    """
    names = [name for name, *_ in calls]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"two jobs have the name {twice[0]!r}; each must have its own")
    if n_jobs is not None and checks.whole("n_jobs", n_jobs, None) == 0:
        raise ValueError("n_jobs is 0; it must be a number of processes, or -1 for one on each core")
    sizes, results, failed = dict(zip(names, sizes or [1] * len(names), strict=True)), {}, {}
    run = Parallel(n_jobs, batch_size=1, return_as="generator_unordered")
    with progress.bar(total=sum(sizes.values()), desc="jobs") as bar:
        for name, result, trouble in run(delayed(_call)(os.getpid(), *call) for call in calls):
            bar.update(sizes[name])
            (failed if trouble else results)[name] = trouble or result
    if failed:
        raise Failed({name: failed[name] for name in names if name in failed})
    return [results[name] for name in names]


def _call(caller, name, function, *arguments):
    """A name with a result, or with the traceback of what was raised: not every exception can be sent back."""
    if os.getpid() != caller:
        os.environ["TQDM_DISABLE"] = "1"  # the caller's bar counts for all
    try:
        return name, function(*arguments), None
    except Exception:
        return name, None, traceback.format_exc()
