"""Every level of every recorded IMP run as one tidy table, for whoever analyses it without this code."""

from itertools import product
from pathlib import Path

from lotterylib import store

from .tickets.matching import EPSILON, excess, within

_RECORDS = "winning_tickets", "successive_barriers", "contrast", "architectures", "blocks"  # those that hold levels


def write(folder, path):
    """Write the runs that are recorded in ``folder``, or anywhere below it, as CSV; the same as a ``pandas.DataFrame``.

    One row for each run, seed, rewind step and level. ``network``, ``width`` and ``blocks`` (empty: the usual ones);
    ``dataset``, and ``data``, the digest of its content; ``run``, the same for all rows of one; the numbers and words
    of recipe and configuration; ``seed``; ``rewind_step``; ``level``, 0 is dense; ``density``, the share of weights
    kept; ``error`` on the test set, in [0, 1]; ``barrier`` to the next level, in [0, 1], on ``points`` of the line
    (empty: not measured, or no next level); ``matching``: whether the error is at most ``tickets.matching.EPSILON``
    above the mean dense one of the run; ``preset``; ``revision`` of the library that made the record. Raises
    ``ValueError`` for a folder without such records.
    """
    import pandas

    rows = [row for run in _runs(Path(folder)) for row in _rows(*run)]
    if not rows:
        raise ValueError(f"folder is {folder}, which holds no levels; it must hold a record of {', '.join(_RECORDS)}")
    frame = pandas.DataFrame(rows).astype({"width": "Int64", "blocks": "Int64"})
    store.write_bytes(path, frame.to_csv(index=False).encode())
    return frame


def _runs(folder):
    """Each run as ``(dataset, arm, about, points, tensors)``, the arm as a record's settings have it."""
    found = {name: [] for name in _RECORDS}
    for path in sorted(folder.rglob("*.safetensors")):  # name.safetensors, or in a work folder name/key.safetensors
        place = path.with_suffix("") if path.stem in found else path.parent
        if place.name in found and (read := store.read(path)):
            found[place.name].append((place.parent, *read))
    for place, record, about in found["winning_tickets"]:
        own, barriers = about["settings"], []
        for other, line, told in found["successive_barriers"]:
            alike = all(told["settings"][part] == own[part] for part in ("dataset", "main"))
            if alike and (other, told["data"]) == (place, about["data"]):
                barriers.append((told["settings"]["tickets.points"], line["height"]))
        for points, height in barriers or [(None, None)]:
            yield own["dataset"], own["main"], about, points, {**record, "barrier": height}
    for _, record, about in found["contrast"]:
        own = about["settings"]
        yield own["dataset"], own["contrast"], about, own["tickets.points"], record
    for _, record, about in found["architectures"]:
        own = about["settings"]
        for n, arm in enumerate(own["barriers.networks"]):
            one = {name: tensor[n] for name, tensor in record.items()}
            yield own["dataset"], arm, about, own["barriers.pair_points"], one
    for _, record, about in found["blocks"]:
        plan = about["plan"]
        config = {"recipe": about["recipe"], "fraction": plan["fraction"], "seed": about["seeds"][0]}
        one = {**record["winning_tickets"], "barrier": record["successive_barriers"]["height"]}
        arm = {"network": plan["network"], "width": plan["width"], "config": config}
        yield about["data"], arm, {**about, "data": about["digest"]}, plan["points"], one


def _rows(dataset, arm, about, points, run):
    config, error, barrier = arm["config"], run["error"], run["barrier"]
    reached, steps = run["density"].isfinite(), run["rewind_step"].tolist()  # what is missing is NaN, or step −1
    matches = within(excess({"error": error[:, [k >= 0 for k in steps], :]}), EPSILON)
    settings = {**config["recipe"], **{name: config.get(name) for name in ("fraction", "rewinding", "pruning")}}
    shared = {
        "network": arm["network"], "width": arm.get("width"), "blocks": arm.get("blocks"),
        "dataset": dataset, "data": about["data"], "run": f"run_{store.key([arm, about['data']])}",
        **{name: value for name, value in settings.items() if not isinstance(value, list | dict)},
    }  # fmt: skip
    made = {"preset": about["preset"], "revision": about["versions"]["lotterylib"]}
    for level, column, r in product(*map(range, error.shape)):
        if reached[level] and steps[column] >= 0:
            last = barrier is None or level == len(barrier)
            yield {
                **shared, "seed": config["seed"] + r, "rewind_step": steps[column], "level": level,
                "density": float(run["density"][level]), "error": float(error[level, column, r]),
                "barrier": None if last else float(barrier[level, column, r]), "points": points,
                "matching": bool(matches[level, column, r]), **made,
            }  # fmt: skip
