"""Sweeps: experiments over seeds, rewind steps, networks, datasets, as independent jobs that meet in one folder.

A job is a preset with some settings changed, and all experiments that are asked of it::

    sweep.run(["winning_tickets", "successive_barriers"], "book", {
        "main.network": ("resnet1d", "cnn1d"), "main.config.seed": (0, 5, 10),
    }, n_jobs=3)

That folder is ``runs/sweep/`` and the revision of the code. With joblib's context around it the same call runs on a
cluster, as ``jobs`` shows; its workers must see the folder and have the revision.
"""

from dataclasses import fields, is_dataclass, replace
from functools import reduce
from itertools import product
from operator import attrgetter

from lotterylib import checks, data, networks, store

from . import jobs, records
from .claims import EXPERIMENTS  # of all rooms, which the claims import
from .experiment import Setup, finished, record, settings
from .settings import Arm


def run(experiments, preset, over, n_jobs=None, device="auto") -> dict:
    """Make the records of ``experiments``, a list of names, for all combinations of settings; by job, dicts of them.

    ``over``: by setting of the preset, such as ``"dataset"``, ``"main.network"`` or ``"main.config.seed"``, the values
    that it takes in turn. Rewind steps that are one value, a tuple, share the dense training. ``n_jobs`` as in
    ``jobs.each``. What this revision has made before, for the same settings and data, is read and not made again.

    Raises ``jobs.Failed`` after the last job, and ``ValueError`` before the first: for an unknown experiment, setting,
    network or dataset, two jobs that would train the same run, a folder that cannot be written, no process at all.
    """
    base, over = settings(preset, True, device), checks.kind("over", over, dict)
    names = [checks.choice("experiment", name, EXPERIMENTS) for name in checks.kind("experiments", experiments, list)]
    over = {setting: [*checks.kind(setting, values, list, tuple, range)] for setting, values in over.items()}
    for what, values in {"experiments": names, **over}.items():
        if not values:
            raise ValueError(f"{what} is empty; it must hold one or more")
    found = _jobs(names, preset, base, over, device)
    store.Folder(records.work_folder("sweep") / "sweeps", {"experiments": names, "over": over}).open()
    due = {job: one for job, one in found.items() if not all(finished(name, one[0]) for name in names)}
    calls = [(job, _make, names, shared, records.VERSION, shared.ds.digest) for job, (shared, _) in due.items()]
    jobs.each(calls, n_jobs, [steps for _, steps in due.values()])
    return {job: {name: _read(job, name, shared) for name in names} for job, (shared, _) in found.items()}


def _jobs(names, preset, base, over, device):
    """By what tells each job from the others: what it is made from, a ``Setup``, and its training steps."""
    found, sets, built, trained, folder = {}, {}, set(), {}, records.work_folder("sweep")
    for values in product(*over.values()):
        job = ", ".join(f"{setting} = {value}" for setting, value in zip(over, values, strict=True)) or preset
        changed = reduce(lambda whole, one: _changed(whole, *one), zip(over, values, strict=True), base)
        dataset, arms = checks.kind("dataset", changed.dataset, str), _arms(job, names, changed)
        if dataset not in sets:
            sets[dataset] = data.load(dataset, device)
        shared, ds = Setup(preset, True, device, changed, folder), sets[dataset]
        for key, arm in arms.items():
            if (ds.digest, key) in trained:
                both = f"jobs {trained[ds.digest, key]!r} and {job!r} would train the same run"
                raise ValueError(f"{both}; each must have runs of its own")
            if (network := (dataset, arm.network, arm.width, arm.blocks)) not in built:
                networks.build(arm.network, ds, **arm.options)
                built.add(network)
        shared.ds = ds
        trained |= {(ds.digest, key): job for key in arms}
        steps = [arm.config.steps_of(level) for arm in arms.values() for level in range(arm.config.levels + 1)]
        found[job] = shared, sum(steps)
    return found


def _make(names, shared, version, digest):
    """Make and keep the records of one job, where it is sent to."""
    for what, own, asked in (("code", records.VERSION, version), ("data", shared.ds.digest, digest)):
        if own != asked:
            raise ValueError(f"the worker has other {what}, {own}; it must be that of the sweep, {asked}")
    for name in names:
        record(name, shared, recompute=True)
    shared._run.cache_clear()  # one after the other in one process, all jobs together would fill the memory


def _read(job, name, shared):
    if found := finished(name, shared):
        return found
    raise FileNotFoundError(f"{job}: no record of {name} is in {shared.folder}, which all workers must see")


def _changed(whole, path, value):
    """A dataclass in which the setting at a dotted path has this value."""
    first, _, rest = path.partition(".")
    checks.choice("setting", first, [field.name for field in fields(whole)] if is_dataclass(whole) else [])
    return replace(whole, **{first: _changed(getattr(whole, first), rest, value) if rest else value})


def _arms(job, names, preset):
    """The arms that experiments train, each by what tells its run from others, which ``levels`` does not."""
    needed = []
    for name in names:
        function, needs = EXPERIMENTS[name]
        if function.only_with and attrgetter(function.only_with)(preset) is None:
            raise ValueError(f"{name} needs the setting {function.only_with}, which is None in {job!r}")
        for value in (attrgetter(need)(preset) for need in needs):
            needed += value if isinstance(value, tuple) else [value]
    arms = [arm for arm in needed if isinstance(arm, Arm)]
    return {store.key(replace(arm, config=replace(arm.config, levels=0))): arm for arm in arms}
