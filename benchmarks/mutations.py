"""Would the tests notice? Facts of the protocol, each broken in a copy of the repository, and the
tests that fail.

    make mutations        (10 core-minutes)

The exit status is 1 where a break passes every test, only makes the code crash, or no longer fits
the source.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lib.system import paths


@dataclass(frozen=True)
class Mutation:
    """`old`, which `file` holds exactly once, becomes `new`; tests in `tests` named like `keyword`
    should notice."""

    fact: str
    file: str
    old: str
    new: str
    tests: str
    keyword: str


AUGMENTED = "views.augment(pixels, rows, px=px, crop=0.395, jitter=0.275, flip=0.5, seed=0, epoch=0, view=0)"

# Fragments are short, so that they outlive a change around them.
MUTATIONS = [
    Mutation(
        "tau rises from start to end",
        "lib/methods/optimisers.py",
        "end - (end - start) * (math.cos",
        "start + (end - start) * (math.cos",
        "tests/methods/test_optimisers.py",
        "tau",
    ),
    Mutation(
        "tau follows the steps taken",
        "lib/methods/base.py",
        "optimisers.cosine_tau(step,",
        "optimisers.cosine_tau(0,",
        "tests/training/test_learning.py",
        "tau",
    ),
    Mutation(
        "the first update has tau's start",
        "lib/methods/base.py",
        "optimisers.cosine_tau(step,",
        "optimisers.cosine_tau(step + 1,",
        "tests/training/test_learning.py",
        "tau",
    ),
    Mutation(
        "pos_weight is n_neg / n_pos",
        "lib/training/train.py",
        'counts["normal"] / max(counts["defect"], 1)',
        'counts["defect"] / max(counts["normal"], 1)',
        "tests/training/test_learning.py",
        "n_neg",
    ),
    Mutation(
        "the online probe's loss is weighted",
        "lib/methods/base.py",
        ", pos_weight=self.pos_weight)",
        ")",
        "tests/methods/test_losses.py",
        "stays_apart",
    ),
    Mutation(
        "MAE's targets are normalised (norm_pix)",
        "lib/methods/mae.py",
        "normalise_patches(patchify(x, ",
        "(patchify(x, ",
        "tests/methods/test_losses.py",
        "mae",
    ),
    Mutation(
        "LARS leaves vectors alone",
        "lib/methods/optimisers.py",
        "[p.grad for p in vectors]",
        '_adapted(vectors, group["weight_decay"], group["trust"])',
        "tests/methods/test_optimisers.py",
        "lars",
    ),
    Mutation(
        "LARS adapts matrices without decay too",
        "lib/methods/optimisers.py",
        "(sizes > 0) & (steps > 0)",
        "(sizes > 0) & (steps > 0) & (weight_decay > 0)",
        "tests/methods/test_optimisers.py",
        "lars",
    ),
    Mutation(
        "NT-Xent has its temperature",
        "lib/methods/simclr.py",
        'temperature=s["temperature"]',
        "temperature=0.5",
        "tests/methods/test_losses.py",
        "simclr",
    ),
    Mutation(
        "DINO's teacher has its own temperature",
        "lib/methods/dino.py",
        "(t - centre) / teacher_temperature",
        "(t - centre) / student_temperature",
        "tests/methods/test_losses.py",
        "dino",
    ),
    Mutation(
        "the teacher's temperature rises by epoch",
        "lib/methods/dino.py",
        "self.teacher_temperature(self.current_epoch)",
        "self.teacher_temperature(0)",
        "tests/methods/test_losses.py",
        "dino",
    ),
    Mutation(
        "F2CIW weighs each class by its own importance",
        "lib/measures/metrics.py",
        "0.5518, 0.2896",
        "0.2896, 0.5518",
        "tests/measures/test_metrics_naive.py",
        "published",
    ),
    Mutation(
        "F2CIW has beta 2",
        "lib/measures/metrics.py",
        "5 * found, found + 4 * images",
        "2 * found, found + images",
        "tests/measures/test_metrics_naive.py",
        "random_images",
    ),
    Mutation(
        "AUROC counts a tie as half",
        "lib/measures/bootstrap.py",
        "(self.fp + self.exceed)",
        "(self.exceed + self.exceed)",
        "tests/measures/test_metrics_naive.py",
        "random_images",
    ),
    Mutation(
        "classes stand in Sewer-ML's order",
        "lib/study/names.py",
        '"RO", "IN", "AF"',
        '"IN", "RO", "AF"',
        "tests/measures/test_metrics_naive.py",
        "published",
    ),
    Mutation(
        "the sampler keeps the normals",
        "lib/data/splits.py",
        "if wanted > len(defects):\n        keep = max(1,",
        "if True:\n        keep = min(len(normals),",
        "tests/data/test_splits.py",
        "resampling",
    ),
    Mutation(
        "clean evaluation does not augment",
        "lib/training/probes.py",
        "lambda pixels, rows: views.evaluation(pixels, px, flipped=flipped)",
        f"lambda pixels, rows: {AUGMENTED}",
        "tests/training/test_probes.py",
        "clean",
    ),
    Mutation(
        "evaluation resizes with antialiasing",
        "lib/data/views.py",
        "reach = scale.clamp_min(1)",
        "reach = torch.ones_like(scale)",
        "tests/data/test_views.py",
        "evaluation",
    ),
    Mutation(
        "evaluation resizes by the bilinear kernel",
        "lib/data/views.py",
        "whole, side, px, _triangle)",
        "whole, side, px)",
        "tests/data/test_views.py",
        "evaluation",
    ),
    Mutation(
        "evaluation sees the whole image",
        "lib/data/views.py",
        "resize_matrix(torch.zeros_like(whole), whole, side",
        "resize_matrix(whole // 8, whole * 3 // 4, side",
        "tests/data/test_views.py",
        "evaluation",
    ),
    Mutation(
        "the probe does not reach the backbone",
        "lib/methods/base.py",
        "else features.detach())",
        "else features)",
        "tests/training/test_train.py",
        "never_reaches",
    ),
    Mutation(
        "RankMe takes singular values, not eigenvalues",
        "lib/measures/representation.py",
        "torch.linalg.svdvals(features)",
        "torch.linalg.svdvals(features).square()",
        "tests/measures/test_rankme.py",
        "rankme",
    ),
    Mutation(
        "the authors' RankMe has eps 1e-6",
        "lib/methods/base.py",
        "rankme(f, eps=1e-6)",
        "rankme(f)",
        "tests/measures/test_rankme.py",
        "rankme",
    ),
    Mutation(
        "MAE's loss reaches its encoder",
        "lib/methods/mae.py",
        "(prediction.float() - target)",
        "(prediction.detach().float() - target)",
        "tests/training/test_train.py",
        "never_reaches and mae",
    ),
    Mutation(
        "MAE's prediction is not the probe's output",
        "lib/methods/mae.py",
        "(prediction.float() - target)",
        "(self.probe(self.backbone(x))[:, None] - target)",
        "tests/methods/test_losses.py",
        "mae",
    ),
    Mutation(
        "MAE's loss is that of masked patches",
        "lib/methods/mae.py",
        "self.gather(e.gather(1, masked - 1)).mean()",
        "self.gather(e).mean()",
        "tests/methods/test_losses.py",
        "mae",
    ),
    Mutation(
        "MAE masks three quarters",
        "lib/methods/mae.py",
        "int(u.shape[1] * (1 - ratio))",
        "int(u.shape[1] * ratio)",
        "tests/methods/test_losses.py",
        "masks",
    ),
    Mutation(
        "BN statistics of momentum encoders are their own",
        "lib/methods/optimisers.py",
        "    torch._foreach_lerp_(targets, sources, 1 - tau)",
        "    torch._foreach_lerp_(targets, sources, 1 - tau)\n"
        "    for b, own in zip(online.buffers(), target.buffers(), strict=True):\n"
        "        own.copy_(b)",
        "tests/methods/test_optimisers.py",
        "momentum",
    ),
    Mutation(
        "DINO's centre moves",
        "lib/methods/dino.py",
        "self.centre.mul_(",
        "self.centre.clone().mul_(",
        "tests/methods/test_losses.py",
        "dino",
    ),
    Mutation(
        "DINO's prototypes are frozen at first",
        "lib/methods/dino.py",
        'self.current_epoch < self.settings["frozen_epochs"]',
        "False",
        "tests/training/test_learning.py",
        "prototypes",
    ),
    Mutation(
        "DINO's gradients are clipped",
        "lib/methods/dino.py",
        ".clamp(max=1)",
        ".clamp(min=1)",
        "tests/methods/test_methods.py",
        "clips",
    ),
    Mutation(
        "BYOL averages its directions",
        "lib/methods/byol.py",
        "t1.float())) / 2",
        "t1.float()))",
        "tests/methods/test_losses.py",
        "byol",
    ),
    Mutation(
        "BYOL predicts the other view",
        "lib/methods/byol.py",
        "byol_loss(p1.float(), t2.float())",
        "byol_loss(p1.float(), t1.float())",
        "tests/methods/test_losses.py",
        "byol",
    ),
    Mutation(
        "BYOL's target is the momentum network's",
        "lib/methods/byol.py",
        "self.momentum_projector(self.gather(self.momentum_backbone(x)))",
        "self.projector(self.backbone(x))",
        "tests/methods/test_losses.py",
        "byol",
    ),
    Mutation(
        "no gradient through BYOL's target",
        "lib/methods/byol.py",
        "z.detach()",
        "z",
        "tests/methods/test_losses.py",
        "byol",
    ),
    Mutation(
        "Barlow Twins' loss is scaled",
        "lib/methods/barlow.py",
        'self.settings["scale"] * self.barlow(',
        "self.barlow(",
        "tests/methods/test_losses.py",
        "barlow",
    ),
    Mutation(
        "the learning rate is warmed up",
        "lib/methods/optimisers.py",
        "return start + (peak - start) *",
        "return peak + 0 *",
        "tests/methods/test_optimisers.py",
        "warmup",
    ),
    Mutation(
        "the schedule warms up for its epochs",
        "lib/methods/base.py",
        's["warmup_epochs"] * self.steps_per_epoch',
        "0",
        "tests/training/test_learning.py",
        "corners",
    ),
    Mutation(
        "the converged probe balances the classes",
        "lib/training/probes.py",
        'class_weight="balanced", ',
        "",
        "tests/training/test_probes.py",
        "optimum",
    ),
    Mutation(
        "several devices: a gather sums gradients",
        "lib/system/ranks.py",
        "dist.all_reduce(summed)",
        "pass",
        "tests/system/test_ranks.py",
        "gather_is",
    ),
    Mutation(
        "several devices: batch norm pools what lies between them",
        "lib/system/ranks.py",
        "variances + (means - mean).square()",
        "variances",
        "tests/system/test_ranks.py",
        "whole_batch",
    ),
    Mutation(
        "several devices: shards count by their size",
        "lib/system/ranks.py",
        "share = counts / counts.sum()",
        "share = torch.ones_like(counts) / len(counts)",
        "tests/system/test_ranks.py",
        "whole_batch",
    ),
]


def copied(folder: str) -> Path:
    """The repository's sources and tests, as they are now, in `folder`."""
    listed = [
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "lib",
        "tests",
        "pyproject.toml",
    ]
    for name in subprocess.run(
        listed, cwd=paths.ROOT, capture_output=True, check=True, text=True
    ).stdout.split("\0"):
        if name and (paths.ROOT / name).is_file():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths.ROOT / name, Path(folder) / name)
    return Path(folder)


def tested(root: Path, tests: str, keyword: str) -> tuple[int, str]:
    """Exit status of pytest on the copy at `root`, up to its first failure, and its output."""
    # The copy's lib goes before the installed one; no bytecode, which two edits in a second would
    # not renew.
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "500",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-rfE",
        "-p",
        "no:cacheprovider",
        tests,
        "-k",
        keyword,
    ]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def unbroken(tests: str) -> str:
    """Output of a file's tests that judge mutations, where they fail without any; empty where they
    pass."""
    keywords = sorted({mutation.keyword for mutation in MUTATIONS if mutation.tests == tests})
    with tempfile.TemporaryDirectory() as folder:
        status, output = tested(copied(folder), tests, " or ".join(keywords))
    return output if status else ""


def tried(mutation: Mutation) -> str:
    """What noticed the mutation, or in capitals why it counts as not noticed."""
    with tempfile.TemporaryDirectory() as folder:
        root = copied(folder)
        path = root / mutation.file
        source = path.read_text()
        if (found := source.count(mutation.old)) != 1:
            return f"NOT TRIED: {mutation.file} holds {mutation.old!r} {found} times, expected once"
        path.write_text(source.replace(mutation.old, mutation.new))
        status, output = tested(root, mutation.tests, mutation.keyword)
    first = re.search(r"^FAILED (.+?) - (.*)$", output, re.MULTILINE)
    if status == 0:
        return "NOT CAUGHT"
    # A crash of the code as edited proves nothing: the failure must be of an assertion.
    if (
        status != 1
        or not first
        or not re.match(r"assert|AssertionError|Failed: DID NOT RAISE", first[2])
    ):
        return f"CRASHED: {first[2] if first else output.strip()[-200:]}"
    return f"caught by {first[1].removeprefix('tests/')}"


def main() -> int:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = sorted({mutation.tests for mutation in MUTATIONS})
        failures = [output for output in pool.map(unbroken, files) if output]
        if failures:
            print("These tests fail before anything is broken:", *failures, sep="\n")
            return 1
        print("| fact | broken in | by | noticed |\n| --- | --- | --- | --- |")
        missed = 0
        for m, verdict in zip(MUTATIONS, pool.map(tried, MUTATIONS), strict=True):
            change = " ".join(f"`{m.old}` → `{m.new}`".split())
            print(f"| {m.fact} | {m.file} | {change} | {verdict} |", flush=True)
            missed += not verdict.startswith("caught")
    print(f"\n{len(MUTATIONS) - missed} of {len(MUTATIONS)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
