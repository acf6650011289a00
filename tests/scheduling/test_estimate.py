"""What trainings will take: counts in closed form, disk, and nothing starts unasked; what the probe
measures, when, and that what it predicts comes true."""

import io
import shutil
import time
from dataclasses import replace

import pytest
import torch

from lib import methods
from lib.data import labels, pixels, sources, splits
from lib.methods import base
from lib.scheduling import estimate, job, plan, throughput, throughput_probe
from lib.scheduling.plan import Request
from lib.simulator import frames
from lib.store import fingerprints, run_directory
from lib.store.stored import load
from lib.study import grid, names, profiles
from lib.system import hardware, paths, torch_device
from lib.system.progress import duration
from lib.training import batches, train

RATES = {
    "training": 10.0,
    "clean": 40.0,
    "augmented": 20.0,
    "fitting": 100.0,
    "weights": 10**7,
    "checkpoint": 3 * 10**7,
    "batch": 256,
    "wanted": 256,
    "memory": 10**9,
}
TRAIN, VAL = 440, 200


@pytest.fixture
def tree(workspace, monkeypatch):
    """Sewer-ML's two tables, without an image; METHODS, SEEDS, JOBS ... as if nobody had chosen."""
    root = workspace / "sewer-ml"
    root.mkdir()
    for split, n in (("train", TRAIN), ("val", VAL)):
        frames.labels(1, split, n)[list(frames.COLUMNS)].to_csv(
            root / sources.TABLES[split], index=False
        )
    monkeypatch.setenv("SEWERML_ROOT", str(root))
    monkeypatch.setenv("PROFILE", "rehearsal")
    monkeypatch.setenv("DEVICE", "cpu")
    for name in ("METHODS", "SEEDS", "JOBS", "FORCE", "YES", "PROTOCOL", "PRECISION"):
        monkeypatch.delenv(name, raising=False)
    fingerprints._identity.cache_clear()
    return root


@pytest.fixture
def fabricated(monkeypatch):
    """Rates without a probe; returns the runs that were asked for."""
    asked = []

    def of(todo, rows, processes, gpus):
        asked.extend(todo)
        return [RATES] * len(todo)

    monkeypatch.setattr(throughput, "rates", of)
    return asked


@pytest.fixture
def started(monkeypatch):
    """Stands in for the pool; the runs that it was given to train."""
    given = []

    def train(todo, request):
        given.extend(job.run for job in todo)
        return 0

    monkeypatch.setattr(plan, "train", train)
    return given


# Counts


@pytest.mark.parametrize(
    "method, views, masked", [("simclr", 2, 0), ("supervised", 1, 0), ("mae-released", 1, 1)]
)
def test_the_work_of_a_run_in_closed_form(method, views, masked):
    run = grid.run("paper", method, "vit_tiny", 0.45, 42)
    assert estimate.FIXED == batches.FIXED
    found = estimate.work(run, 500_000, 130_046)
    assert found.training == 45 * 500_000
    assert (
        found.clean == 9 * 1024 + (1 + masked) * 500_000 + 1.5 * 130_046
    )  # 9 validations; half are flipped
    assert found.augmented == views * 130_046 and found.fitting == 500_000
    assert found.scores == 2 * (500_000 + (2 + views) * 130_046)
    assert found.seconds(RATES) == pytest.approx(
        found.training / 10 + found.clean / 40 + found.augmented / 20 + found.fitting / 100
    )


def test_an_ablation_has_no_flipped_evaluation_and_a_single_left_over_image_is_not_trained_on():
    ablation = grid.parse("paper", "supervised-resnet18-dnat-s42-px64")
    assert estimate.work(ablation, 1000, 800).clean == 9 * 800 + 1000 + 800
    assert estimate.work(ablation, 513, 800).training == 45 * 512
    assert estimate.work(ablation.with_settings(epochs=11), 512, 9).clean == 3 * 9 + 521


def test_hours_are_those_of_the_images_at_each_share(tree, fabricated):
    table = labels.read_table(tree / sources.TABLES["train"])
    half, _ = sources.tables(profiles.load("rehearsal")["data"], "train")
    normals = int((half["Defect"] == 0).sum())
    assert len(half) < len(table) / 2 + 1
    todo = grid.cells("rehearsal", methods=["simclr"], backbones=["resnet18"])
    found = estimate.forecast(todo, 2, [])
    drawn = [normals + int(normals * p / (1 - p) + 1e-9) for p in (0.01, 0.02, 0.05, 0.15)]
    defects = len(half) - normals  # of which 45 % takes more than there are: all, and fewer normals
    drawn.append(defects + int(defects * 0.55 / 0.45 + 1e-9))
    assert [w.training for w in found.work] == drawn
    scoring = [(VAL + n + 1.5 * VAL) / 40 + 2 * VAL / 20 + n / 100 for n in drawn]
    assert found.seconds == pytest.approx([n / 10 + s for n, s in zip(drawn, scoring, strict=True)])
    assert found.hours(sum(found.seconds)) == pytest.approx(sum(found.seconds) / 3600)


def test_processes_on_one_gpu_share_its_hours_and_the_longest_run_bounds_the_time():
    todo = grid.cells("paper", methods=["random"], backbones=["resnet18"])
    work = [estimate.Work(n, 0, 0, 0, 0) for n in (100, 20, 20, 20, 20)]  # at 10 a second
    made = {
        g: estimate.Estimate(todo, work, [RATES] * 5, 2, ["0", "1"][:g], "", [], 0)
        for g in (0, 1, 2)
    }
    assert [e.unit for e in made.values()] == ["core-hours", "GPU-hours", "GPU-hours"]
    assert [e.hours(3600) for e in made.values()] == [1.0, 0.5, 1.0]
    assert all(e.wall == 10 for e in made.values())
    assert replace(made[0], workers=1).wall == 18


def test_every_cache_is_counted_once_and_what_is_there_is_not(tree, fabricated):
    data = profiles.load("rehearsal")["data"]
    half = len(sources.tables(data, "train")[0])
    todo = [*grid.cells("rehearsal", methods=["random"]), *grid.cells("rehearsal", "resolution")]
    small, middle, large = (3 * side**2 for side in (256, 384, 512))
    expected = (half + TRAIN + VAL) * small + (TRAIN + VAL) * (
        middle + large
    )  # Table 2 reads the whole table
    assert estimate.forecast(todo, 1, []).caches == expected
    there = pixels.cached(data, "val", sources.tables(data, "val")[0])
    there.parent.mkdir(parents=True)
    there.touch()
    assert estimate.forecast(todo, 1, []).caches == expected - VAL * small
    there.rename(there.with_name(f"{there.name}.partial"))
    with open(there.with_name(f"{there.name}.partial"), "wb") as holes:  # a third is filled
        holes.write(bytes(VAL * small // 3))
        holes.truncate(VAL * small)
    assert estimate.forecast(todo, 1, []).caches == pytest.approx(
        expected - VAL * small / 3, abs=1e5
    )


def test_run_directories_hold_weights_of_the_grid_scores_and_a_checkpoint_in_training(
    tree, fabricated
):
    one = estimate.forecast(
        grid.cells("rehearsal", methods=["random"], backbones=["resnet18"])[:1], 1, []
    )
    ablation = estimate.forecast(grid.cells("rehearsal", "resolution")[:1], 1, [])
    assert one.store == int(one.work[0].scores * estimate.SCORE + 10**7 + 2 * 3 * 10**7)
    assert ablation.store == int(ablation.work[0].scores * estimate.SCORE + 2 * 3 * 10**7)


# Asking


@pytest.mark.parametrize(
    "terminal, answer, yes, starts",
    [
        (False, "", "", False),
        (False, "", "1", True),
        (True, "n\n", "", False),
        (True, "\n", "", False),
        (True, "", "", False),
        (True, "y\n", "", True),
    ],
)
def test_nothing_starts_unless_it_is_agreed_to(
    tree, fabricated, started, monkeypatch, capsys, terminal, answer, yes, starts
):
    monkeypatch.setenv("METHODS", "random")
    stdin = io.StringIO(answer)
    stdin.isatty = lambda: terminal
    monkeypatch.setattr("sys.stdin", stdin)
    request = Request("rehearsal", ["table1"], methods=["random"], yes=bool(yes))
    status = plan.run(request)
    told = capsys.readouterr().out
    assert status == (0 if starts else 2)
    assert len(started) == (10 if starts else 0)
    assert {r.method for r in fabricated} == {"random"}  # the estimate is of what was asked for
    assert (
        "Untrained backbone, ViT-Tiny, 224 px" in told
        and "core-hours" in told
        and "free in" in told
    )
    assert ("Start 10 trainings? [y/N]" in told) == (terminal and not yes)
    command = (
        f"make table1 PROFILE=rehearsal METHODS=random DEVICE=cpu SEWERML_ROOT={tree} WORKSPACE="
    )
    assert (command in told) == (not starts) and ("YES=1" in told) == (not starts)
    assert not list(paths.RUNS.glob("*/*.partial"))


def test_one_named_run_is_estimated_alone(tree, fabricated, started):
    assert plan.run(Request("rehearsal", run_id="byol-vit_tiny-d15-s42", yes=True)) == 0
    assert [r.id for r in fabricated] == [r.id for r in started] == ["byol-vit_tiny-d15-s42"]


def test_what_only_has_to_be_measured_is_no_training_to_agree_to(
    tree, fabricated, started, monkeypatch, capsys
):
    """It was priced in GPU-hours, and asked for."""
    monkeypatch.setattr(job.Job, "need", lambda one: "measurement")
    assert plan.run(Request("rehearsal", run_id="byol-vit_tiny-d15-s42")) == 0
    assert len(started) == 1 and not fabricated
    assert "0 of 1 runs to train and 1 to measure" in capsys.readouterr().out


def test_what_is_simulated_or_trains_nothing_is_not_probed(tree, started, monkeypatch, capsys):
    monkeypatch.setattr(throughput, "rates", lambda *_: pytest.fail("probed"))
    monkeypatch.setattr(sources, "simulated", lambda *_: None)
    plan.explain(Request("rehearsal"))
    one = Request("smoke", run_id="random-resnet18-d45-s42")
    assert plan.run(one) == 0 and len(started) == 1
    monkeypatch.setattr(job, "reference", lambda run: paths.REFERENCE)
    assert plan.run(Request("rehearsal", ["walkthrough"])) == 0 and len(started) == 1


def test_a_disk_that_is_too_small_is_told_before_anything_starts(
    tree, fabricated, started, monkeypatch
):
    usage = shutil.disk_usage(tree)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**8))
    with pytest.raises(
        sources.DataError, match=r"has 0\.1 GB free and these trainings write 0\.\d GB"
    ):
        plan.run(Request("rehearsal", ["table1"], yes=True))
    assert not started


def test_a_share_that_a_small_tree_cannot_reach_is_told_before_the_probe(
    tree, fabricated, monkeypatch, capsys
):
    for split, n in (("train", 60), ("val", 24)):
        frames.labels(1, split, n)[list(frames.COLUMNS)].to_csv(
            tree / sources.TABLES[split], index=False
        )
    with pytest.raises(
        sources.DataError, match=r"1% defects cannot be reached .* at least 1 defect and 99"
    ):
        plan.run(Request("rehearsal", ["table1"]))
    assert not fabricated
    monkeypatch.setattr("sys.stdin", io.StringIO())
    # This one can: only validation lacks normals.
    assert plan.run(Request("rehearsal", run_id="random-resnet18-d45-s42")) == 2
    assert (
        "warning: in validation, a share of 1% defects cannot be reached" in capsys.readouterr().err
    )


def test_what_does_not_fit_is_said(tree, fabricated):
    one = estimate.forecast(
        grid.cells("rehearsal", methods=["dino"], backbones=["resnet18"])[:1], 4, []
    )
    on_gpu = replace(one, gpus=["0"], rates=[RATES | {"batch": 64}])
    assert "a batch of 256 does not fit this GPU's memory" in estimate.table(on_gpu)
    assert "measured with 64" in estimate.table(on_gpu)
    assert "does not fit" not in estimate.table(replace(on_gpu, rates=[RATES]))
    assert "steps of fewer images" in estimate.table(replace(one, rates=[RATES | {"batch": 64}]))
    assert "lower JOBS" in estimate.table(replace(one, rates=[RATES | {"memory": 10**15}]))
    assert "warning" not in estimate.table(one)


def test_pixels_that_the_memory_does_not_hold_have_to_be_read_from_the_disk(tree, fabricated):
    todo = grid.cells("rehearsal", methods=["dino"], backbones=["resnet18"])
    found = estimate.forecast(todo, 2, [])
    image = 3 * 256**2
    passed = sum(w.training + w.clean + w.augmented for w in found.work)
    assert found.read == passed * image and found.read_a_second == 2 * 10 * image
    assert "reads:" in estimate.table(found) and "do not fit" not in estimate.table(found)
    large = replace(found.turns[0], caches={paths.DATA / "x.npy": 10**15})
    told = estimate.table(replace(found, turns=[large]))
    assert "1,000,000.0 GB of pixels do not fit in the memory" in told
    assert "reads 4 MB/s in random pieces of one image" in told


def test_the_features_of_many_images_take_more_memory_than_a_step(tree, fabricated):
    """Of ResNet-18, 512 numbers of 4 bytes an image."""
    todo = grid.cells("rehearsal", methods=["random"], backbones=["resnet18"])[:1]
    found = estimate.forecast(todo, 1, [])
    assert found.memory == estimate.BASE + RATES["memory"]
    many = replace(found, work=[replace(found.work[0], fitting=502_563)])
    assert many.memory == pytest.approx(estimate.BASE + 3.6 * 502_563 * 2048)


def test_durations_are_said_in_the_unit_that_fits():
    assert [duration(s) for s in (90, 5400, 3 * 3600, 30 * 86400)] == [
        "2 min",
        "90 min",
        "3.0 hours",
        "30.0 days",
    ]


def test_rates_are_measured_once_for_each_machine_setting_and_code(workspace, monkeypatch):
    measured = []

    def measure(absent, processes, gpus):
        measured.append(sorted(run.backbone for _, run in absent.values()))
        return dict.fromkeys(absent, RATES)

    monkeypatch.setattr(throughput, "_measure", measure)
    shares = (0.01, 0.02, 0.05, 0.15, 0.45)
    both = [grid.run("smoke", "byol", b, s, 42) for b in names.BACKBONES for s in shares]
    one, rows = both[:5], [28, 29, 30, 31, 32] * 2
    assert throughput.rates(one, rows[:5], 2, []) == [RATES] * 5
    throughput.rates(both, rows, 2, [])
    throughput.rates(both, rows, 2, [])
    assert measured == [
        ["resnet18"],
        ["vit_tiny"],
    ]  # one of five shares; what is known is not measured again
    throughput.rates(one, rows[:5], 1, [])  # fewer at once
    throughput.rates([r.with_settings(hidden=8) for r in one], rows[:5], 2, [])
    monkeypatch.setattr(hardware, "machine", lambda gpus: "another")
    throughput.rates(one, rows[:5], 2, [])
    monkeypatch.setattr(fingerprints, "syntax", lambda path: "changed")
    throughput.rates(one, rows[:5], 2, [])
    assert measured[2:] == [["resnet18"]] * 4
    (paths.BUILD / "smoke" / "estimate.json").write_text("{cut sho")
    throughput.rates(one, rows[:5], 2, [])
    assert len(measured) == 7


def test_the_batch_is_halved_until_the_memory_holds_it(monkeypatch):
    tried = []

    def measure(run, rows, batch, asked, device):
        tried.append(batch)
        if batch > 64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return throughput_probe.Rates(**RATES | {"batch": batch, "wanted": asked})

    monkeypatch.setattr(torch_device, "device", lambda: "cuda")
    monkeypatch.setattr(throughput_probe, "_measure", measure)
    found = throughput_probe.measure(grid.run("paper", "dino", "resnet18", 0.45, 42), 1000)
    assert tried == [256, 128, 64] and (found["batch"], found["wanted"]) == (64, 256)


def test_a_step_that_failed_for_memory_leaves_nothing_behind(monkeypatch):
    """On a processor, with a network that fails above 8 images: the smaller batch is measured as if
    asked for first."""
    monkeypatch.setattr(throughput_probe, "SECONDS", {"cpu": 0.1})
    monkeypatch.setattr(throughput_probe, "BYTES_PER_PIXEL", 0)  # what a step keeps, alone
    monkeypatch.setattr(throughput_probe, "_fitting", lambda features: 1.0)
    step = base.Method.training_step

    def training_step(self, batch, batch_index):
        if len(batch[1]) > 8:
            self.step(batch[0], batch[2])
            raise torch.OutOfMemoryError("out of memory")
        return step(self, batch, batch_index)

    monkeypatch.setattr(base.Method, "training_step", training_step)
    run = grid.run("smoke", "simclr", "resnet18", 0.45, 42)
    found = throughput_probe.measure(run, 32)
    assert (found["batch"], found["wanted"]) == (8, 32)
    direct = throughput_probe._measure(run, 32, 8, 32, "cpu")
    assert found["memory"] == direct.memory
    assert (
        throughput_probe._measure(run, 8, 8, 8, "cpu").memory < direct.memory
    )  # activations grow with the batch
    parameters = sum(
        p.numel()
        for p in methods.build(run, steps=1, steps_per_epoch=1, pos_weight=1.0).parameters()
    )
    assert direct.checkpoint - direct.weights == pytest.approx(
        2 * 4 * parameters, rel=1e-3
    )  # AdamW's two moments


def test_a_processor_measures_steps_that_take_seconds(monkeypatch):
    monkeypatch.setattr(torch_device, "device", lambda: "cpu")
    monkeypatch.setattr(
        throughput_probe,
        "_measure",
        lambda run, rows, batch, asked, device: throughput_probe.Rates(**RATES | {"batch": batch}),
    )
    runs = {
        px: grid.parse("paper", f"supervised-resnet18-dnat-s42-px{px}") for px in (64, 224, 512)
    }
    batches = {px: throughput_probe.measure(run, 1000)["batch"] for px, run in runs.items()}
    assert batches == {64: 98, 224: 8, 512: 2}


def test_the_predicted_time_is_the_measured_one_within_a_factor_of_two(store, monkeypatch):
    """Of one training on one thread, in processor time: others use the processor, too. A training
    before it warms this process, which loads libraries."""
    monkeypatch.setenv("DEVICE", "cpu")
    for clock in ("time", "perf_counter"):
        monkeypatch.setattr(time, clock, time.process_time)
    run = grid.run("smoke", "simclr", "resnet18", 0.45, 42).with_settings(epochs=6)
    pixels.prepare(run.data)
    rows = len(splits.resample(sources.tables(run.data, "train")[0], run.share, run.data["seed"]))
    for one in (replace(run, seed=41), run):
        train.train(one)
    taken = load(run).record["total_seconds"]
    rates = throughput_probe.measure(run, rows)
    predicted = estimate.work(run, rows, run.data["val"]).seconds(rates)
    assert predicted / 2 < taken < 2 * predicted  # usually within a quarter
    folder = run_directory.folder(run)
    scores = (folder / "scores.parquet").stat().st_size
    assert scores < 2 * estimate.work(run, rows, run.data["val"]).scores * estimate.SCORE
    assert rates["weights"] == pytest.approx((folder / "checkpoint.pt").stat().st_size, rel=0.05)
