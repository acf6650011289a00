"""The benchmark: ratios say who is faster, the model alone does the step's work, the reference
trains as much."""

import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from small import ROWS
from torchvision import transforms

from benchmarks import (
    cache,
    chart,
    evaluation,
    grid,
    inputs,
    measure,
    mutations,
    reference,
    speed,
    steps,
    views,
)
from lib.data import sources, splits
from lib.data.decoding import Place, decode
from lib.data.pixels import load, prepare
from lib.scheduling import estimate
from lib.study import grid as grid_module
from lib.study import names, profiles
from lib.study.grid import cells
from lib.system import hardware, paths, torch_device
from lib.training import probes

REFERENCES = [(m, b) for m, b in ROWS if m in reference.MODULES]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def split(store):
    data = profiles.load("smoke")["data"]
    prepare(data)
    return load(data, "train")


def run_of(method: str, backbone: str = "resnet18", **settings):
    return grid_module.run("smoke", method, backbone, 0.45, 42).with_settings(**settings)


def test_a_competitor_that_is_faster_shows_as_a_ratio_below_one():
    turns = {"ours": lambda: 2.0, "faster": lambda: 1.0, "slower": lambda: 5.0}
    found = measure.compare(measure.alternate(turns, 3), "ours", "ms", lambda s: 1e3 * s).set_index(
        "measured"
    )
    assert found["speed"].to_dict() == {"ours": 1.0, "faster": 0.5, "slower": 2.5}
    assert found.at["slower", "median"] == 5000
    assert (found["rounds"] == 3).all()


def test_ratios_are_of_turns_of_the_same_round():
    """A machine that slows to a tenth half-way changes the times and not the ratio."""
    taken = {"ours": np.array([1.0, 1.0, 10.0, 10.0]), "other": np.array([2.0, 2.0, 20.0, 20.0])}
    found = measure.compare(taken, "ours", "s", np.asarray).set_index("measured")
    assert found.loc["other", ["speed_q1", "speed", "speed_q3"]].tolist() == [2, 2, 2]
    assert found.at["other", "q3"] == 20


def test_every_other_round_runs_backwards():
    called = []
    turns = {name: lambda name=name: called.append(name) or 1.0 for name in "abc"}
    measure.alternate(turns, 2)
    assert "".join(called) == "abccba"


def test_paced_counts_the_calls_after_the_warm_ones(monkeypatch):
    clock, called = iter([10.0, 16.0]), []
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    assert measure.paced(lambda: called.append(0), 3, warm=2) == 2.0
    assert len(called) == 5


@pytest.fixture(params=["32-true", "bf16-mixed"])
def precision(request, monkeypatch):
    """Each precision that a processor may train in, whatever this one has."""
    monkeypatch.setattr(torch_device, "precision", lambda: request.param)
    return request.param


@pytest.mark.parametrize(
    "method, backbone", [("supervised", "resnet18"), ("byol", "vit_tiny"), ("mae", "vit_tiny")]
)
def test_the_model_alone_has_the_gradients_of_the_training_step(split, method, backbone, precision):
    system = steps.System(run_of(method, backbone), split)
    with system.model.arithmetic.context():  # as Lightning takes the step
        loss = system.method.training_step(system.model.batch, 0)
    loss.backward()
    expected = [p.grad.clone() for p in measure.parameters(system.method)]
    before = [p.detach().clone() for p in measure.parameters(system.method)]
    system.model.step()
    for p, g in zip(measure.parameters(system.method), expected, strict=True):
        torch.testing.assert_close(p.grad, g)
    moved = [
        not torch.equal(p, b)
        for p, b in zip(measure.parameters(system.method), before, strict=True)
    ]
    assert np.mean(moved) > 0.9


@pytest.mark.parametrize("method, backbone", REFERENCES)
def test_the_reference_trains_as_large_a_network_as_ours(split, method, backbone):
    run = run_of(method, backbone)
    files, labels = inputs.files("smoke")[:64], split.defect[:64]
    training = reference.Training(run, files, labels, "32-true")
    before = {
        n: p.detach().clone() for n, p in training.module.named_parameters() if p.requires_grad
    }
    training.step()
    training.step()
    after = dict(training.module.named_parameters())
    assert all(p.isfinite().all() for p in after.values())
    assert np.mean([not torch.equal(after[n], p) for n, p in before.items()]) > 0.9
    system = steps.System(run, split)
    count = [
        sum(p.numel() for p in measure.parameters(m)) for m in (training.module, system.method)
    ]
    assert count[0] == pytest.approx(count[1], rel=0.05)


def test_a_step_is_measured_with_its_columns(split, results, precision):
    """Where the study trains in bf16, its rival is measured in both precisions."""
    files = inputs.files("smoke")
    table = steps.measured(run_of("simclr", batch=16), split, files, rounds=2, turn=0.01)
    rivals = {"32-true": ["lightly"], "bf16-mixed": ["lightly", "lightly, 32-true"]}[precision]
    assert table["measured"].tolist() == ["ours", "model alone", *rivals]
    assert table["precision"].tolist() == [
        "32-true" if name.endswith("32-true") else precision for name in table["measured"]
    ]
    written = measure.write("steps", table)
    read = chart.read(measure.part("steps"))
    assert {"machine", "cores", "threads", "torch", "precision", "device", "px", "batch"} <= set(
        read
    )
    assert (read[["q1", "median", "q3"]] > 0).all(axis=None)
    assert read["speed"].to_numpy() == pytest.approx(written["speed"].to_numpy(), rel=1e-4)


def test_rows_of_ours_have_no_rival(split):
    system = steps.System(run_of("random"), split)
    assert set(steps.competitors(system, [], np.zeros(0), 0.01)) == {"ours", "model alone"}


def test_the_conventional_pipeline_is_the_runs_augmentation(store):
    run = run_of("simclr")
    made = inputs.conventional(run)
    crop, jitter, flip = made.transform.transforms[:3]
    assert isinstance(crop, transforms.RandomResizedCrop) and crop.scale == (run.crop, 1)
    assert crop.interpolation == transforms.InterpolationMode.BICUBIC
    assert jitter.hue == (-run.jitter / 2, run.jitter / 2)
    assert flip.p == run.settings.flip
    prepare(run.data)
    both, label = inputs.Frames(inputs.files("smoke"), np.arange(200), made)[3]
    assert [view.shape for view in both] == [(3, run.px, run.px)] * 2 and label == 3
    assert not torch.equal(*both)


def test_competitors_make_views_of_the_same_kind():
    run = run_of("simclr")
    torch.manual_seed(0)
    made = {name: make() for name, make in views.competitors(run).items()}
    assert {x.shape for x in made.values()} == {(views.BATCH, 3, run.px, run.px)}
    ours = made["ours"]
    torch.testing.assert_close(ours, made["ours, batched"], rtol=0, atol=2e-5)
    others = made.keys() - {"ours", "ours, batched"}
    assert others >= {"torchvision v2", "lightly"}
    for name in others:  # other draws; lightly's kernel blurs noise more, kornia's less
        assert abs(made[name].mean() - ours.mean()) < 0.2
        assert 0.75 < made[name].std() / ours.std() < 1.25


def test_both_inputs_are_measured(split):
    run = run_of("simclr")
    assert 0 < inputs.by_loader(inputs.files("smoke"), run, processes=1, batch=8, batches=2) < 1
    assert 0 < inputs.by_batches(split, run, batches=1) < 1


def test_full_size_frames_are_drawn_once_and_fill_a_cache(workspace):
    files = inputs.full_size(2)
    drawn = [file.stat().st_mtime_ns for file in files]
    assert decode(Place(files[0])).shape == (*inputs.SIZE, 3)
    assert [file.stat().st_mtime_ns for file in inputs.full_size(2)] == drawn
    assert inputs.fill(workspace / "x.npy", files, 32) > 0
    assert np.load(workspace / "x.npy").shape == (2, 32, 32, 3)


def test_the_ideal_is_the_counted_work_over_the_cores(store, monkeypatch):
    monkeypatch.setattr(grid, "processes", lambda: 4)
    run = run_of("simclr")
    prepare(run.data)
    rows = len(splits.resample(sources.tables(run.data, "train")[0], 0.45, run.data["seed"]))
    work = estimate.work(run, rows, 200)
    todo, system = [run, run], ("simclr", "resnet18")
    assert grid.ideal(todo, {system: (1.0, 0.0)}) == 2 * rows / 4
    assert grid.ideal(todo, {system: (0.0, 1.0)}) == 2 * (work.clean + work.augmented) / 4


def test_a_slice_is_trained_by_the_pool_elsewhere(store):
    run = run_of("random")
    told = grid.trained([run])
    assert told["wall"] > 1
    assert 0.1 < told["peak"] < grid.MEMORY
    assert not (store / "runs").exists()


def test_the_grids_table_holds_wall_time_against_the_ideal(store, results, monkeypatch):
    paces = iter(
        [[(0.1, 0.01), (0.2, 0.02)], [(0.3, 0.03), (0.4, 0.04)]]
    )  # before the slice, and after it
    monkeypatch.setattr(grid, "rates", lambda todo: next(paces))
    monkeypatch.setattr(grid, "trained", lambda todo: {"wall": 60.0, "peak": 1.5})
    grid.main("smoke", 0.45, ["random"])
    (row,) = chart.read(measure.part("grid")).itertuples()
    todo = [run_of("random", backbone) for backbone in names.BACKBONES]
    means = {("random", "resnet18"): (0.2, 0.02), ("random", "vit_tiny"): (0.3, 0.03)}
    assert row.ideal_s == pytest.approx(grid.ideal(todo, means), rel=1e-3)
    assert row.ratio == pytest.approx(row.wall_s / row.ideal_s, rel=1e-3)
    assert (row.runs, row.wall_s, row.peak_gb, row.bar) == (2, 60, 1.5, 1.25)


def test_a_rate_is_of_steps_and_of_images_scored(split, monkeypatch):
    """Both are seconds an image, and one that is only scored has no backward pass."""
    monkeypatch.setattr(grid, "TURN", 0.2)
    monkeypatch.setattr(time, "perf_counter", time.process_time)  # others use the processor, too
    trained, scored = grid._rate(run_of("simclr"))
    assert 0 < scored < trained


def test_every_pairs_images_are_passed(split, monkeypatch):
    run, passed = run_of("simclr"), []
    monkeypatch.setattr(
        probes,
        "features",
        lambda method, pixels, rows, view: passed.append(len(rows)) or np.zeros((len(rows), 128)),
    )
    shares, table = [0.05, 0.45], load(run.data, "val")
    assert evaluation.by_passes([run], table, shares) > 0
    assert passed == [len(splits.resample(table.table, s, run.data["seed"])) for s in shares]


def test_all_pairs_are_read_from_the_reference_in_less_than_a_pass(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", time.process_time)  # others use the processor, too
    system = cells("mini", methods=["simclr"], backbones=("resnet18",), seeds=[42])
    assert 0 < evaluation.from_scores(system) < 5


def test_the_chart_is_drawn_from_the_tables_that_are_there(results):
    turns = {
        "ours": partial(float, 1),
        "model alone": partial(float, 0.9),
        "lightly": partial(float, 1.5),
    }
    found = measure.compare(measure.alternate(turns, 2), "ours", "ms a step", np.asarray)
    measure.write(
        "steps",
        found.assign(method="simclr", backbone="resnet18", px=64, batch=64, precision="32-true"),
    )
    assert chart.draw().stat().st_size > 10_000
    rows = [grid.row("slice", [None], wall=3.0, least=2.0) | {"peak_gb": 1.0, "peak_bar": 4.0}]
    measure.write("grid", pd.DataFrame(rows))
    taken = chart.shares(chart.read(measure.part("grid")), None)
    assert taken[f"grid, slice, {torch_device.device()}"] == (
        pytest.approx(1.5 / grid.BAR),
        "1.50 of 1.25 x ideal",
    )


def test_a_panel_of_steps_names_the_size_of_each_backbone():
    speed = {"speed_q1": 0.9, "speed": 1.0, "speed_q3": 1.1}
    row = {"method": "simclr", "measured": "model alone", "device": "cpu", **speed}
    sizes = {"resnet18": 64, "vit_tiny": 48}
    ax = Figure().subplots()
    chart.steps(ax, pd.DataFrame([row | {"backbone": b, "px": px} for b, px in sizes.items()]))
    assert ax.get_title() == "(b) training step, 64 and 48 px, cpu"


def test_a_part_replaces_its_own_rows_alone(results):
    file = results / "measured.csv"
    measure.write(
        "redraw", pd.DataFrame([{"measured": "make fig2", "median": 14.123456, "bar": 15}])
    )
    kept = file.read_text().splitlines()[1]
    assert "14.123" in kept and "14.1234" not in kept  # five digits
    for runs in (2, 14):
        measure.write("grid", pd.DataFrame([{"measured": "slice", "runs": runs, "ratio": 1.25}]))
    assert file.read_text().splitlines()[0].startswith("part,measured,median,bar,machine")
    assert chart.read(measure.part("grid"))["runs"].tolist() == [14]
    (row,) = chart.read(measure.part("redraw")).to_dict("records")
    assert (row["median"], row["bar"]) == (14.123, 15) and "runs" not in row
    assert chart.read("steps") is None


def test_an_unknown_part_names_the_nearest(capsys):
    assert speed.main(["step"]) == 2
    assert "did you mean 'steps'" in capsys.readouterr().err


def test_a_gpu_is_measured_after_the_processor(monkeypatch):
    monkeypatch.delenv("DEVICE", raising=False)
    monkeypatch.setattr(hardware, "gpus", lambda: ["0"])
    assert speed.devices() == ["cpu", "cuda"]
    monkeypatch.setenv("DEVICE", "cpu")
    assert speed.devices() == ["cpu"]


@pytest.mark.parametrize("mutation", mutations.mutations(), ids=lambda mutation: mutation.fact)
def test_a_mutation_fits_its_file_once_and_names_tests(mutation):
    assert len(mutation.fits((paths.ROOT / mutation.file).read_text())) == 1
    tests, keyword = mutation.tests
    assert keyword.split()[0] in (paths.ROOT / tests).read_text()


# What views lose to the pixel cache


def lost(frame: np.ndarray, side: int) -> tuple[float, float, float]:
    """Grey levels, dB and share of detail of a whole frame at 64 px."""
    ((levels, psnr, detail),) = cache.losses([frame], cache.WHOLE[None], side, 64, cache.BILINEAR)
    return levels, psnr, detail


def test_a_view_of_a_frame_that_is_cached_as_it_is_loses_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    assert lost(noise, 96) == (0, np.inf, 1)


def test_a_smaller_cache_loses_more_detail():
    noise = np.random.default_rng(0).integers(0, 256, (576, 720, 3), dtype=np.uint8)
    levels, psnr, detail = zip(*(lost(noise, side) for side in (80, 160, 320)), strict=True)
    assert levels[0] > levels[1] > levels[2] > 0
    assert psnr[0] < psnr[1] < psnr[2]
    assert detail[0] < detail[1] < detail[2] and detail[0] < 0.9


def test_crops_are_those_of_training_as_parts_of_the_image():
    boxes = cache.crops(2_000, 0.395)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0 and boxes.max() <= 1
    assert 0.39 < (width * height).min() < 0.4 and (width * height).max() > 0.95
    assert 0.74 < (width / height).min() < 0.8 and 1.25 < (width / height).max() < 1.34


def test_views_are_enlarged_from_small_caches_alone(monkeypatch):
    monkeypatch.setattr(cache, "CROPS", 2_000)
    run = grid_module.run("paper", "simclr", "resnet18", 0.45, 42)
    shares = [cache.enlarged(*size, run) for size in ((224, 224), (256, 256), (720, 576))]
    # Of a square of the view's own side only the crops of the whole are not enlarged.
    assert shares[0] > 0.98 and shares[2] == 0
    # By area alone .61; crops of large areas are drawn again where they do not fit.
    assert 0.73 < shares[1] < 0.82
