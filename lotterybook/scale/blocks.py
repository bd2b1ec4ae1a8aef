"""Blocks of replicates, each from a lent GPU of its own, as one record that says which card made which.

``python -m lotterybook.scale.blocks results.json later/results.json`` publishes what ``benchmarks/gpu_run.py`` wrote.
"""

import json
import sys
from pathlib import Path

import torch

from lotterylib import store

from .. import records

NAME, PRESET = "blocks", "lent"


def joined(blocks) -> records.Record:
    """Results of one or more blocks, dicts, with their replicates beside each other, in the order of their seeds.

    As the experiments of chapters 1 and 2 name and shape them: ``winning_tickets``, ``successive_barriers``,
    ``projections`` and, if each block has them, ``instability`` and ``recalibrated`` barriers; of the levels that all
    blocks have reached. ``about["blocks"]`` says for each replicate's seed which devices and machines made it. Raises
    ``ValueError`` for no block, blocks that differ in more than their seeds, and seeds that two of them share.
    """
    blocks = sorted(blocks, key=lambda block: block["plan"]["seed"])
    if not blocks:
        raise ValueError("there is no block; one or more results.json must be given")
    for block in blocks:
        for name, first in _common(blocks[0]).items():
            if _common(block)[name] != first:
                found = f"blocks differ in {name}: {first} and {_common(block)[name]}"
                raise ValueError(f"{found}; they must be runs of one plan, which --plan takes over")
    count = blocks[0]["plan"]["replicates"]
    seeds = [block["plan"]["seed"] + r for block in blocks for r in range(count)]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"blocks share seeds: {seeds}; each must have its own, --seed 0, {count}, {2 * count}, ...")
    levels = min(len(block["levels"]) for block in blocks)
    steps = torch.tensor(blocks[0]["plan"]["rewind_step"])

    def along(name, first=1, inside=None):
        """A measure of the levels from ``first`` on, or of what they have ``inside``: (levels, ..., K, R)."""
        rows = [[row[inside] if inside else row for row in block["levels"][first:levels]] for block in blocks]
        each = [torch.tensor([row[name] for row in some], dtype=torch.float64) for some in rows]
        return torch.cat([values.unflatten(-1, (len(steps), count)) for values in each], -1)

    rows = zip(*(block["levels"][:levels] for block in blocks), strict=True)
    density = [sum(row["density"] for row in level) / len(blocks) for level in rows]
    axes = {"density": torch.tensor(density).double(), "rewind_step": steps}
    tree = {
        "winning_tickets": {"error": along("error", 0), **axes},
        "successive_barriers": {"height": along("barrier"), "curve": along("curve"), **axes},
        "projections": {"error": along("projection"), **axes},
    }
    if all("recalibrated" in row for block in blocks for row in block["levels"][1:levels]):
        tree["successive_barriers"]["recalibrated"] = along("barrier", inside="recalibrated")
    if all("instability" in block for block in blocks):
        each = [torch.tensor(block["instability"]["height"], dtype=torch.float64) for block in blocks]
        k = torch.tensor(blocks[0]["instability"]["k"])
        tree["instability"] = {"height": torch.cat(each, -1), "rewind_step": k}
    made = [{"seeds": seeds[i * count : (i + 1) * count], "made": b["sessions"]} for i, b in enumerate(blocks)]
    about = {"preset": PRESET, **_common(blocks[0]), **_provenance(blocks), "seeds": seeds, "blocks": made}
    return records.Record(tree, about)


def _provenance(blocks):
    """What all sessions ran on, each thing once, and how long they took if all of them say it."""
    sessions = [session for block in blocks for session in block["sessions"]]

    def each(values):
        return ", ".join(sorted(set(map(str, values))))

    versions = {name: each(session["machine"][name] for session in sessions) for name in ("torch", "numpy", "python")}
    versions["lotterylib"] = each(session["library"] for session in sessions)
    took = {"seconds": sum(s["seconds"] for s in sessions)} if all("seconds" in s for s in sessions) else {}
    date = max(session["machine"]["date"] for session in sessions)
    return {"device": each(session["device"] for session in sessions), "versions": versions, "date": date, **took}


def _common(block):
    plan = {name: value for name, value in block["plan"].items() if name not in ("seed", "levels", "way")}
    return {"plan": plan, "data": block["data"], "digest": block.get("digest"), "recipe": block["recipe"]}


def published() -> records.Record | None:
    """The joined record in ``records/``, or ``None`` if there is none."""
    path = records.PUBLISHED / PRESET / f"{NAME}.safetensors"
    return records.Record(*store.read(path)) if records.is_published(path) else None


def main(paths):
    """Join these results and publish them; the record as it is published."""
    record = joined([json.loads(Path(path).read_text()) for path in paths])
    record.about["key"] = store.key([record.about["plan"], record.about["digest"], record.about["seeds"]])
    record.path = records.work_folder(PRESET) / f"{NAME}.safetensors"
    records.publish(PRESET, {NAME: record})
    print(f"{NAME}: seeds {record.about['seeds']}, {len(record['winning_tickets']['error'])} levels")
    return record


if __name__ == "__main__":
    main(sys.argv[1:])
