"""The table of levels against what numpy makes of the same records."""

import numpy as np
import pandas
import pytest
import torch

from lotterybook import records, table
from lotterylib import store

RECIPE = {"steps": 40, "batch_size": 128, "lr": 0.3, "schedule": "cosine", "drops": []}


def arm(network, steps, seed=0, **options):
    config = {"recipe": RECIPE, "rewind_step": steps, "fraction": 0.2, "seed": seed, "pruning": "iterative"}
    return {"network": network, "config": config, **options}


def keep(path, settings, **arrays):
    """A record as ``records`` keeps it."""
    about = {"key": "k", "preset": "smoke", "settings": {"dataset": "mnist1d", **settings}, "data": "0123"}
    about["versions"] = {"lotterylib": f"0.2.0+{path.parent.parent.name[:3]}"}
    store.write(path, {name: torch.tensor(np.array(value)) for name, value in arrays.items()}, about)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def near(value):
    """Up to the last bits, in which older pandas may err when it reads."""
    return pytest.approx(value, rel=1e-12)


def test_a_run_is_what_numpy_says(tmp_path, rng):
    """Three levels, two rewind steps, two seeds; barriers on two numbers of points, and those of another run."""
    steps, own = [0, 10], arm("resnet1d", [0, 10], seed=5, width=8)
    density, error = 0.8 ** np.arange(3), 0.1 + 0.03 * rng.random((3, 2, 2))
    heights = {3: rng.random((2, 2, 2)), 5: rng.random((2, 2, 2))}
    axes = {"density": density, "rewind_step": steps}
    for name in ("1ab", "2cd"):  # two revisions of the code
        folder = tmp_path / "runs" / name
        keep(folder / "winning_tickets" / "a.safetensors", {"main": own}, error=error, **axes)
        for points, height in heights.items():
            settings = {"main": own, "tickets.points": points}
            keep(folder / "successive_barriers" / f"{points}.safetensors", settings, height=height, **axes)
        other = {"main": arm("resnet1d", [0, 10], seed=7, width=8), "tickets.points": 9}
        keep(folder / "successive_barriers" / "other.safetensors", other, height=np.ones((2, 2, 2)), **axes)
    made, found = table.write(tmp_path / "runs", tmp_path / "levels.csv"), pandas.read_csv(tmp_path / "levels.csv")
    assert len(found) == len(made) == 2 * 2 * 3 * 2 * 2 and found["run"].nunique() == 1
    assert not found.duplicated(["revision", "points", "seed", "rewind_step", "level"]).any()
    assert set(found["revision"]) == {"0.2.0+1ab", "0.2.0+2cd"} and set(found["points"]) == {3, 5}
    for column, value in {"network": "resnet1d", "width": 8, "dataset": "mnist1d", "data": 123, "lr": 0.3, "steps": 40,
                          "fraction": 0.2, "pruning": "iterative", "preset": "smoke"}.items():  # fmt: skip
        assert (found[column] == value).all(), column
    assert found["blocks"].isna().all() and "drops" not in found and "rewinding" in found
    dense = error[0].mean()
    for row in found.itertuples():
        at = row.level, steps.index(row.rewind_step), row.seed - 5
        assert row.error == near(error[at]) and row.density == near(density[row.level])
        assert row.matching == (error[at] - dense <= 0.005)
        assert np.isnan(row.barrier) if row.level == 2 else row.barrier == near(heights[row.points][at])
    assert 0 < found["matching"].sum() < len(found)


def test_what_a_run_did_not_reach_has_no_row(tmp_path, rng):
    """Two networks beside each other, padded; and the contrast, whose barriers are in its record."""
    nan, folder = np.nan, tmp_path / "smoke"
    arms = [arm("cnn1d", [0, 10]), arm("resnet1d", [10], blocks=2, width=4)]
    error, barrier = rng.random((2, 3, 2, 2)), rng.random((2, 2, 2, 2))
    error[1, 2], error[1, :, 1], barrier[1, 1], barrier[1, :, 1] = nan, nan, nan, nan
    keep(
        folder / "architectures.safetensors", {"barriers.networks": arms, "barriers.pair_points": 7}, error=error,
        barrier=barrier, density=[[1, 0.8, 0.64], [1, 0.8, nan]], rewind_step=[[0, 10], [10, -1]], weights=[9, 9],
    )  # fmt: skip
    contrast = {"contrast": arm("cnn1d_plain", [0, 20]), "tickets.points": 3}
    keep(
        folder / "contrast.safetensors", contrast, error=error[0], barrier=barrier[0], density=[1, 0.8, 0.64],
        rewind_step=[0, 20], instability=np.zeros((2, 2)),
    )  # fmt: skip
    keep(folder / "winning_tickets.safetensors", {"main": arm("mlp", [0])}, error=error[0][:, :1],
         density=[1, 0.8, 0.64], rewind_step=[0])  # fmt: skip
    table.write(tmp_path, tmp_path / "levels.csv")
    found = pandas.read_csv(tmp_path / "levels.csv").set_index(["network", "level", "rewind_step", "seed"]).sort_index()
    assert found.groupby("network").size().to_dict() == {"cnn1d": 12, "cnn1d_plain": 12, "mlp": 6, "resnet1d": 4}
    second = found.loc["resnet1d"]
    assert second.loc[(0, 10, 1), "error"] == near(error[1, 0, 0, 1]) and second.loc[(0, 10, 1), "barrier"] == near(
        barrier[1, 0, 0, 1]
    )
    assert second.loc[1, "barrier"].isna().all() and (second["points"] == 7).all() and (second["blocks"] == 2).all()
    dense = error[1, 0, 0].mean()
    assert second.loc[1, "matching"].tolist() == [value - dense <= 0.005 for value in error[1, 1, 0]]
    assert found.loc[("cnn1d_plain", 1, 20, 0), "barrier"] == near(barrier[0, 1, 1, 0])
    assert found.loc["mlp", "barrier"].isna().all() and found.loc["mlp", "points"].isna().all()


def test_published_records_and_the_block_of_a_graphics_card_are_read(tmp_path):
    table.write(records.PUBLISHED, tmp_path / "levels.csv")
    found = pandas.read_csv(tmp_path / "levels.csv")
    block = store.read(records.PUBLISHED / "lent" / "blocks.safetensors")[0]
    lent = found[found["preset"] == "lent"].set_index(["level", "rewind_step", "seed"]).sort_index()
    assert len(lent) == block["winning_tickets"]["error"].numel() and (lent["network"] == "resnet20").all()
    assert lent.loc[(14, 1000, 1), "error"] == near(float(block["winning_tickets"]["error"][14, 1, 1]))
    assert lent.loc[(13, 0, 0), "barrier"] == near(float(block["successive_barriers"]["height"][13, 0, 0]))
    assert (lent["lr"] == 0.1).all() and (lent["points"] == 11).all() and lent["matching"].any()


def test_a_folder_without_levels_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=f"folder is {tmp_path}, which holds no levels; it must hold a record of winning"
    ):
        table.write(tmp_path, tmp_path / "levels.csv")
    assert not list(tmp_path.iterdir())
