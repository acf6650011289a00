"""What the whole of Sewer-ML takes, held against the sampler, closed forms and the page that says
it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks import scale
from lib.data import splits
from lib.data.check import PUBLISHED
from lib.study import grid, names, profiles
from lib.system import paths

TRAIN, VAL = PUBLISHED["train"][0], PUBLISHED["val"][0]
RUN = grid.run("paper", "supervised", "resnet18", 0.45, 42)


@pytest.mark.parametrize("normal, defect", [(600, 500), (600, 100)])
def test_rows_are_those_that_the_sampler_draws(monkeypatch, normal, defect):
    monkeypatch.setitem(scale.PUBLISHED, "train", (normal + defect, normal, defect))
    table = pd.DataFrame({"Defect": np.arange(normal + defect) < defect}).astype(int)
    for name in names.CLASSES:
        table[name] = 0
    table["OB"] = table["Defect"]
    for share in (None, *profiles.load("paper")["train_shares"]):
        run = replace(RUN, share=share, data=RUN.data | {"fraction": 1.0})
        assert scale.rows(run) == len(splits.resample(table, share, 42))


def test_the_caches_are_counted_once_and_the_largest_pair_bounds_the_disk():
    runs = {study: grid.cells("paper", study) for study in scale.PARTS}
    every = [run for members in runs.values() for run in members]
    assert len(every) == 70 + 50 + 10
    small, middle, large = (3 * side**2 for side in (256, 384, 512))
    half = TRAIN // 2
    assert scale.pixels(scale.caches(runs["grid"])) == (half + VAL) * small
    both = (half + TRAIN + VAL) * small + (TRAIN + VAL) * (middle + large)
    assert scale.pixels(scale.caches(every)) == both
    assert scale.at_once(every) == (TRAIN + VAL) * large < 0.53 * both


def test_hours_are_those_of_the_passes_at_the_stated_rate():
    epochs, images = RUN.settings.epochs, scale.rows(RUN)
    assert scale.passes(RUN) == pytest.approx(epochs * images, rel=0.05)  # scoring is the rest
    table2 = [run for run in grid.cells("paper", "resolution") if run.px in (256, 512)]
    assert scale.passes(table2[0]) == pytest.approx(45 * TRAIN * (512 / 224) ** 2, rel=0.05)
    runs = grid.cells("paper")
    alone = scale.wall(runs, 1, 1000)
    assert alone == pytest.approx(sum(map(scale.passes, runs)) / 3.6e6)
    assert scale.wall(runs, 1, 2000) == pytest.approx(alone / 2)
    assert scale.wall(runs, 1000, 1000) == pytest.approx(max(map(scale.passes, runs)) / 3.6e6)
    assert alone / 8 <= scale.wall(runs, 8, 1000) <= alone / 8 + scale.wall(runs, 1000, 1000)


def test_the_page_holds_the_tables_of_today():
    page = (paths.ROOT / "docs" / "sewer-ml.md").read_text(encoding="utf-8")
    for table in scale.tables():
        assert table in page, "renew it: python -m benchmarks.scale"
