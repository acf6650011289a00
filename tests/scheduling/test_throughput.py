"""The probe: what it measures, when, and that what it predicts comes true."""

import json
from dataclasses import replace

import pytest
import torch

from lib import methods
from lib.data import pixels, sources, splits
from lib.methods import base
from lib.scheduling import estimate, local, throughput, throughput_probe
from lib.scheduling.job import Job
from lib.store import fingerprints, run_directory
from lib.study import grid
from lib.system import hardware, paths, torch_device

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


def test_rates_are_measured_once_for_each_machine_setting_and_code(workspace, monkeypatch):
    measured = []

    def measure(absent, processes, gpus):
        measured.append(sorted(run.backbone for _, run in absent.values()))
        return dict.fromkeys(absent, RATES)

    monkeypatch.setattr(throughput, "_measure", measure)
    both = grid.cells("smoke", methods=["byol"])
    one, rows = both[:5], [28, 29, 30, 31, 32] * 2
    assert throughput.of(one, rows[:5], 2, []) == [RATES] * 5
    throughput.of(both, rows, 2, [])
    throughput.of(both, rows, 2, [])
    assert measured == [
        ["resnet18"],
        ["vit_tiny"],
    ]  # one of five shares; what is known is not measured again
    throughput.of(one, rows[:5], 1, [])  # fewer at once
    throughput.of([r.with_settings(hidden=8) for r in one], rows[:5], 2, [])
    monkeypatch.setattr(hardware, "machine", lambda gpus: "another")
    throughput.of(one, rows[:5], 2, [])
    monkeypatch.setattr(fingerprints, "syntax", lambda path: "changed")
    throughput.of(one, rows[:5], 2, [])
    assert measured[2:] == [["resnet18"]] * 4
    (paths.BUILD / "smoke" / "estimate.json").write_text("{cut sho")
    throughput.of(one, rows[:5], 2, [])
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
    monkeypatch.setattr(throughput_probe, "PASSING", 0)  # what a step keeps, alone
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
    """Of one training on one thread. The first of three warms the worker (libraries load), the
    quicker of the others counts, and the probe is taken before and after: others may take the
    processor meanwhile."""
    monkeypatch.setenv("DEVICE", "cpu")
    run = grid.run("smoke", "simclr", "resnet18", 0.45, 42)
    run = run.with_settings(epochs=6)
    pixels.prepare(run.data)
    rows = len(splits.resample(sources.tables(run.data, "train")[0], run.share, run.data["seed"]))
    counted = estimate.work(run, rows, run.data["val"])
    probed = [throughput._measure({"": (rows, run)}, 1, [])[""]]
    three = [replace(run, seed=seed) for seed in (40, 41, 42)]
    assert local.Pool(1, []).train([Job(r) for r in three]) == {}
    taken = min(
        json.loads((run_directory.folder(r) / "run.json").read_text())["total_seconds"]
        for r in three[1:]
    )
    probed.append(throughput._measure({"": (rows, run)}, 1, [])[""])
    predicted = [counted.seconds(p) for p in probed]
    assert min(predicted) / 2 < taken < 2 * max(predicted), (
        predicted,
        taken,
    )  # seconds; usually within a quarter
    folder = run_directory.folder(run)
    scores = (folder / "scores.parquet").stat().st_size
    assert scores < 2 * counted.scores * estimate.SCORE
    assert probed[0]["weights"] == pytest.approx(
        (folder / "checkpoint.pt").stat().st_size, rel=0.05
    )
