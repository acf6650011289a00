"""Several devices train as one does: collectives, batch norm, gradients of every method, whole
runs.

Two processes over gloo, and over NCCL where there are two GPUs, share nine images as 5 and 4, in
float64: what differs is an error and not the order of a sum.
"""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import threading
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small import LARS, ROWS, batch, build
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lib.data import pixels
from lib.scheduling import local
from lib.scheduling.job import Job
from lib.store import fingerprints
from lib.study import grid
from lib.system import paths
from lib.system import ranks as ranks_module
from lib.system.ranks import (
    ALONE,
    Place,
    SyncBatchNorm,
    agree,
    dist,
    gather,
    join,
    leave,
    synchronised,
)
from lib.training import batches, train

torch.set_num_threads(1)
RANKS, IMAGES = 2, 9
INPUTS = {"rows": (IMAGES, 3), "images": (IMAGES, 3, 4, 4)}


def doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let losses keep float64 where they ask for float32."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def shard(x, rank: int, last: int = 4):
    """The rows of `rank`; `last` of them are the last rank's."""
    return x[:-last] if rank == 0 else x[-last:]


def noise(shape, seed: int, device: str = "cpu") -> torch.Tensor:
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(device)


def norm(shape, device: str = "cpu") -> nn.Sequential:
    """A batch normalisation of `shape` whose numbers are all its own."""
    made = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(
        shape[1], eps=0.01, momentum=0.3
    ).double()
    with torch.no_grad():
        for seed, tensor in enumerate((made.weight, made.bias, made.running_mean)):
            tensor.copy_(noise(tensor.shape, seed))
    return nn.Sequential(made).to(device)


class Loss(nn.Module):
    """A method whose forward pass is its training step, as Lightning has DDP see it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *arguments):
        return self.model.training_step(arguments, 0)


def passed(method: str, backbone: str, device: str, rank: int | None = None) -> dict:
    """Loss, gradients, buffers and history sums after one step on a batch, or on its shard of
    `rank`."""
    model = build(method, backbone, pos_weight=2.0).double().to(device)
    views, labels, images = batch(model, IMAGES)
    if rank is not None:
        views, labels, images = (
            [shard(x, rank) for x in views],
            shard(labels, rank),
            shard(images, rank),
        )
    loss = Loss(model) if rank is None else DistributedDataParallel(Loss(model))
    value = loss([x.to(device) for x in views], labels.to(device), images)
    value.backward()
    return {
        "loss": value.item(),
        "sums": {k: torch.as_tensor(v[0]).double().cpu() for k, v in model._sums.items()},
        "gradients": {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None},
        "buffers": {
            n: b.cpu() for n, b in model.named_buffers() if "memory_bank" not in n
        },  # lightly's, never filled
    }


def normalised(network: nn.Module, x: torch.Tensor, weights: torch.Tensor) -> dict:
    """Output, gradients and state of a weighted sum of the output."""
    x = x.clone().requires_grad_()
    y = network(x)
    (y * weights).sum().backward()
    state = {k: v.cpu() for k, v in network.state_dict().items()}
    return {
        "y": y.detach().cpu(),
        "x": x.grad.cpu(),
        "weight": network[0].weight.grad.cpu(),
        "state": state,
    }


def as_rank(rank: int, device: str, folder) -> None:
    """In a process of its own: everything that the tests compare, into `folder`."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": RANKS, "MASTER_ADDR": "127.0.0.1"}
    os.environ.update({k: str(v) for k, v in place.items()})
    join(device)
    doubled(pytest.MonkeyPatch())
    found = {"agreed": agree(lambda: f"decided by {rank}")}
    for last in (4, 1):
        for name, shape in INPUTS.items():
            network, x, w = (
                synchronised(norm(shape, device)),
                noise(shape, 3, device),
                noise(shape, 4, device),
            )
            found[name, last] = normalised(network, shard(x, rank, last), shard(w, rank, last))
    x = shard(noise((IMAGES, 2, 3), 5, device), rank).requires_grad_()
    whole = gather(x)
    (whole * noise(whole.shape, 6 + rank, device)).sum().backward()
    found["gathered"] = whole.detach().cpu(), x.grad.cpu()
    for row in ROWS:
        found[row] = passed(*row, device, rank)
    leave()
    torch.save(found, folder / f"{rank}.pt")


TWO_GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=TWO_GPUS)])
def ranks(request, tmp_path_factory):
    """What each rank found."""
    folder, context = tmp_path_factory.mktemp("ranks"), multiprocessing.get_context("spawn")
    with pytest.MonkeyPatch.context() as patch:
        with socket.create_server(("127.0.0.1", 0)) as free:
            patch.setenv("MASTER_PORT", str(free.getsockname()[1]))
        children = [
            context.Process(target=as_rank, args=(r, request.param, folder)) for r in range(RANKS)
        ]
        for child in children:
            child.start()
    for child in children:
        child.join(300)
        child.kill()
    assert [child.exitcode for child in children] == [0] * RANKS
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(RANKS)]


def close(ours, whole, **tolerance) -> None:
    torch.testing.assert_close(ours, whole, **({"rtol": 1e-9, "atol": 1e-12} | tolerance))


def test_rank_0_decides(ranks):
    assert [r["agreed"] for r in ranks] == ["decided by 0"] * RANKS


def test_a_gather_is_the_whole_in_order_and_hands_back_the_sum_of_gradients(ranks):
    x = noise((IMAGES, 2, 3), 5)
    gradient = noise(x.shape, 6) + noise(x.shape, 7)
    for rank, found in enumerate(ranks):
        whole, received = found["gathered"]
        assert torch.equal(whole, x)
        close(received, shard(gradient, rank))
    assert gather(x) is x  # alone


@pytest.mark.parametrize(
    "last", [4, 1]
)  # images of the second rank, one of which torch would not normalise
@pytest.mark.parametrize("name", INPUTS)
def test_synchronised_batch_norm_is_batch_norm_of_the_whole_batch(ranks, name, last):
    x, weights = noise(INPUTS[name], 3), noise(INPUTS[name], 4)
    whole = normalised(norm(INPUTS[name]), x, weights)
    shards = [found[name, last] for found in ranks]
    for key in ("y", "x"):
        close(torch.cat([s[key] for s in shards]), whole[key])
    close(sum(s["weight"] for s in shards), whole["weight"])
    for s in shards:
        close(s["state"], whole["state"])


def test_synchronised_batch_norm_evaluates_as_batch_norm_does(monkeypatch):
    plain, x = norm(INPUTS["images"]), noise(INPUTS["images"], 3)
    assert synchronised(plain) is plain and type(plain[0]) is nn.BatchNorm2d  # alone
    with monkeypatch.context() as patch:
        patch.setattr(dist, "is_initialized", lambda: True)
        twin = synchronised(deepcopy(plain).requires_grad_(False)).eval()
        assert type(twin[0]) is SyncBatchNorm and not twin[0].weight.requires_grad
        assert torch.equal(twin(x), plain.eval()(x))


@pytest.mark.parametrize("method, backbone", ROWS)
def test_a_step_of_two_devices_is_that_of_one(ranks, method, backbone, monkeypatch):
    doubled(monkeypatch)
    whole = passed(method, backbone, "cpu")
    assert "probe.weight" in whole["gradients"]
    largest = max(g.abs().max().item() for g in whole["gradients"].values())
    for found in ranks:
        ours = found[method, backbone]
        assert ours["loss"] == pytest.approx(whole["loss"], rel=1e-9)
        close(
            ours["gradients"], whole["gradients"], rtol=1e-8, atol=1e-11 * largest
        )  # some are 0 but for rounding
        close(ours["buffers"], whole["buffers"])  # running statistics, DINO's centre
        close(ours["sums"], whole["sums"], rtol=1e-6)


# Whole runs


def smoke(method: str, backbone: str, **settings):
    """A smoke run of two epochs of 104 images: two batches of 41, an odd number, and one of 22."""
    run = grid.run("smoke", method, backbone, 0.05, 3)
    return run.with_settings(**{"epochs": 2, "warmup_epochs": 1, "batch": 41} | settings)


# LARS for the ResNet: AdamW's first steps make a whole step of a gradient that is all rounding.
RUNS = [smoke("simclr", "resnet18", **LARS), smoke("dino", "vit_tiny")]


def begin(run, folder) -> None:
    """As if `run` had been begun in float32 in `folder`: it goes on so, even where bf16 is
    native."""
    partial = folder / f"{run.id}.partial"
    partial.mkdir(parents=True)
    begun = {"fingerprint": fingerprints.fingerprint(run), "precision": "32-true"}
    (partial / "begun.json").write_text(json.dumps(begun))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Runs of two devices, of which the first lost rank 1 in its second epoch and was retried; of
    one device; and the first run, left by two devices at its first checkpoint and gone on with by
    one."""
    root = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSPACE", str(root))
        patch.setenv("DEVICE", "cpu")
        for name in ("DATA", "RUNS"):
            patch.setattr(paths, name, root / name.lower())
        pixels.prepare(RUNS[0].data)
        two, one, left = paths.RUNS / "smoke", root / "one", root / "left"
        hear, killed = local.Training.hear, []

        def kill_once(self, ready):
            message = hear(self, ready)
            second_epoch = isinstance(message, float) and message > 0.5
            if not killed and self.job.run == RUNS[0] and second_epoch:
                shutil.copytree(two / f"{RUNS[0].id}.partial", left / f"{RUNS[0].id}.partial")
                os.kill(self.processes[1].pid, signal.SIGKILL)
                killed.append(self.processes)
            return message

        patch.setattr(local.Training, "hear", kill_once)
        for run in RUNS:
            begin(run, two)
            begin(run, one)
        pool, failed, jobs = local.Pool(1, [], devices=2), [], [Job(run) for run in RUNS]
        training = threading.Thread(target=lambda: failed.append(pool.train(jobs)), daemon=True)
        training.start()
        training.join(300)
        assert failed == [{}] and pool.retried == {RUNS[0].id}  # and nothing hangs
        assert len(killed) == 1 and not any(process.is_alive() for process in killed[0])
        for run in RUNS:
            train.train(run, store=one)
        train.train(RUNS[0], store=left)
    return two, one, left


# Columns of the history that count decisions. Some logits are so close to 0 that rounding decides;
# an image of the 94 with a defect is .01 of recall.
DECISIONS = ("train_f1", "val_f1", "val_recall", "val_precision")


def same(method: str, ours, theirs) -> None:
    """Equal but for the rounding of float32, which the steps of a ResNet widen."""
    # Of the history; of logits in half precision, which processors with AVX-512 round to 0.0012.
    rtol, atol = {"simclr": (1e-3, 0.01), "dino": (1e-5, 0.002)}[method]
    a, b = (
        pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (ours, theirs)
    )
    assert a["epoch"].tolist() == [0, 1]
    for column in DECISIONS:
        np.testing.assert_allclose(a.pop(column), b.pop(column), rtol=0, atol=0.03)
    pd.testing.assert_frame_equal(a, b, rtol=rtol, atol=1e-5)
    a, b = (pd.read_parquet(folder / "scores.parquet") for folder in (ours, theirs))
    pd.testing.assert_frame_equal(
        a.drop(columns="logit"), b.drop(columns="logit"), check_exact=True
    )
    apart = (a["logit"].astype(float) - b["logit"].astype(float)).abs()
    assert apart.quantile(0.99) < atol and apart.max() < 10 * atol  # a few images are near a kink


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.method)
def test_two_devices_make_the_run_of_one_even_where_one_of_them_died(folders, run):
    two, one, _ = folders
    same(run.method, two / run.id, one / run.id)
    records = [json.loads((folder / run.id / "run.json").read_text()) for folder in (two, one)]
    assert [r["devices"] for r in records] == [2, 1] and records[0]["fingerprint"] == records[1][
        "fingerprint"
    ]
    written = [{p.name for p in (folder / run.id).iterdir()} for folder in (two, one)]
    assert written[0] == written[1] | {
        "measured.parquet",
        "measured.json",
    }  # the pool measures, too
    assert not list(two.glob("*.partial"))


def test_one_device_goes_on_where_two_stopped(folders):
    _, one, left = folders
    same(RUNS[0].method, left / RUNS[0].id, one / RUNS[0].id)


def test_shards_are_the_batch_and_differ_by_one_image_at_most():
    split = pixels.Split(
        pd.DataFrame({"Defect": [0] * 25}), np.zeros((25, 8, 8, 3), np.uint8), True
    )
    run = replace(RUNS[0].with_settings(batch=11), px=8)

    def images(place):
        return [
            ids.tolist()
            for _, _, ids in batches.Batches(run, split, np.arange(25), torch.device("cpu"), place)
        ]

    whole, shards = images(ALONE), [images(Place(rank, 2)) for rank in range(2)]
    assert [a + b for a, b in zip(*shards, strict=True)] == whole
    assert [[len(ids) for ids in s] for s in shards] == [[6, 6, 2], [5, 5, 1]]
    assert [len(ids) for ids in images(Place(0, 4))] == [3, 3]  # three images are too few for four


@pytest.mark.parametrize(
    "environment, place",
    [
        ({}, (0, 1)),
        ({"WORLD_SIZE": "1", "RANK": "0"}, (0, 1)),
        ({"WORLD_SIZE": "4", "RANK": "3"}, (3, 4)),
    ],
)
def test_a_process_finds_its_place_in_the_environment(environment, place, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ranks_module.place() == place
    if place[1] > 1:
        monkeypatch.setenv("LOCAL_RANK", "1")
        with pytest.raises(ValueError, match="a run trains on one host"):
            ranks_module.place()
