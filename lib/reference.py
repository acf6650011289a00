"""Renew the committed reference from complete runs: scores, histories, renderings, and the README's numbers.

    python -m lib.reference        (make reference)

A number in the README is generated here, never typed; tests hold the README against the committed runs.
"""

import json
import platform
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pandas as pd

from lib import datasets, metrics, paths, report, runs, study, workers
from lib.study import CLASSES

PROFILE = "mini"  # the one profile whose results are committed
README = paths.ROOT / "README.md"
SHOWN = (0.01, 0.05, 0.45)  # train shares in the README's table


def renew() -> None:
    """Replace results/reference/mini, figures/ and the README's generated parts. Raises MissingRuns."""
    wanted = study.grid(PROFILE)
    absent = [run.id for run in wanted if runs.state(run)[0] != "complete"]
    if absent:
        raise runs.MissingRuns(f"{len(absent)} runs are missing or stale ({absent[0]} ...): make replicate first.")
    target = paths.REFERENCE / PROFILE
    beside = target.with_name(f"{PROFILE}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    for run in wanted:
        kept = beside / run.id
        kept.mkdir(parents=True)
        for name in ("run.json", "history.csv", "scores.parquet"):
            shutil.copyfile(runs.folder(run) / name, kept / name)
    table, _ = datasets.tables(wanted[0].data, "val")
    columns = ["Filename", *CLASSES, "Defect", "Video", "Sampled"]
    table[columns].to_parquet(beside / "validation.parquet", compression="zstd", index=False)
    (beside / "provenance.json").write_text(json.dumps(_provenance(wanted), indent=1) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    paths.REFERENCE_FIGURES.mkdir(exist_ok=True)
    for name in study.artefacts():
        for ending in ("png", "csv", "md"):
            with suppress(FileNotFoundError):
                made = paths.FIGURES / PROFILE / f"{name}.{ending}"
                shutil.copyfile(made, paths.REFERENCE_FIGURES / made.name)
    README.write_text(filled(README.read_text()))


def _provenance(wanted: list[study.Run]) -> dict:
    """The machine, and how long the runs took on it, one thread each."""
    records = [runs.load(run).record for run in wanted]
    model = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    return {
        "processor": model[1].strip() if model else platform.processor() or platform.machine(),
        "cores": workers.cores(), "precision": records[0]["precision"], "versions": records[0]["versions"],
        "runs": len(records), "core_minutes": round(sum(r["total_seconds"] for r in records) / 60, 1),
    }  # fmt: skip


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text()
    return ""


def filled(readme: str) -> str:
    """The README's text with its generated parts renewed from the committed reference."""
    for name, content in (("results", results()), ("times", times())):
        start, end = f"<!-- {name}: generated -->", f"<!-- /{name} -->"
        parts = re.split(f"{start}.*?{end}", readme, flags=re.S)
        if len(parts) != 2:
            raise ValueError(f"README.md has {len(parts) - 1} places for '{name}', expected one.")
        readme = f"{parts[0]}{start}\n{content}\n{end}{parts[1]}"
    return readme


def _committed(run: study.Run) -> runs.Stored:
    return runs.Stored(run, paths.REFERENCE / PROFILE / run.id, "reference")


def results() -> str:
    """F1 and AUROC by system and train share, the paired differences that matter, and a figure, in Markdown."""
    stored = [_committed(run) for run in study.grid(PROFILE) if run.share in SHOWN]
    measured = runs.measure(stored, "clean")
    table, _ = runs.validation(stored[0])
    always = metrics.always_defect_f1(table["Defect"].mean())
    head = "| system | " + " | ".join(f"F1, {s:.0%}" for s in SHOWN) + " | "
    head += " | ".join(f"AUROC, {s:.0%}" for s in SHOWN) + " |"
    lines = [head, "| --- |" + " ---: |" * 2 * len(SHOWN)]
    for (method, backbone), rows in measured.groupby(["method", "backbone"], sort=False):
        cells = [_cell(rows, name, share) for name in ("f1", "auroc") for share in SHOWN]
        lines.append(f"| {report.label(method)}, {report.label(backbone)} | " + " | ".join(cells) + " |")
    lines.append(f"| always “defect” | {' | '.join([f'{always:.2f}'] * len(SHOWN))} |" + " 0.50 |" * len(SHOWN))
    return "\n".join([
        f"**Simulated frames**, profile `{PROFILE}`, protocol `clean` (converged probe, plain images), one seed. "
        f"Columns: share of defects in training; validation at its natural share ({table['Defect'].mean():.0%} of "
        f"{len(table)} images, {table['Video'].nunique()} videos). Brackets: 95 % bootstrap intervals over videos; "
        "they do not hold the spread over seeds.", "", *lines, "", *_differences(stored), "",
        "![F1 by share of defects in training and validation, ResNet-18](figures/fig2.png)",
    ])  # fmt: skip


def _cell(rows: pd.DataFrame, metric: str, share: float) -> str:
    (row,) = rows[(rows["metric"] == metric) & (rows["train_share"] == share)].itertuples()
    mark = "" if row.health == "healthy" else f" ({row.health})"
    return f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]{mark}"


def _differences(stored: list[runs.Stored]) -> list[str]:
    """A line per backbone: SimCLR minus random at the largest share, paired over videos."""
    found = []
    for backbone in study.BACKBONES:
        pair = [[s for s in stored if (s.run.method, s.run.backbone, s.run.share) == (m, backbone, SHOWN[-1])]
                for m in ("simclr", "random")]  # fmt: skip
        gaps = [(name, runs.difference(*pair, metric=name)) for name in ("f1", "auroc")]
        text = ", ".join(
            f"{g['estimate']:+.3f} [{g['low']:+.3f}, {g['high']:+.3f}] in {report.METRICS[n]}" for n, g in gaps
        )
        found.append(f"- SimCLR minus random backbone, {report.label(backbone)}, {SHOWN[-1]:.0%} of defects: {text}.")
    return found


def times() -> str:
    """How long the reference took, and on what."""
    facts = json.loads((paths.REFERENCE / PROFILE / "provenance.json").read_text())
    minutes = facts["core_minutes"]
    return (
        f"The {facts['runs']} trainings of `{PROFILE}` took {minutes:.0f} core-minutes, so about "
        f"{minutes / facts['cores']:.0f} minutes on the {facts['cores']} cores at hand ({facts['processor']}, "
        f"precision {facts['precision']}); a CPU with native bf16 is faster. "
        "The first command also installs about 6 GB of packages (CUDA's among them on Linux)."
    )


def main() -> int:
    """The command line; what is missing is told in one sentence."""
    try:
        renew()
    except (RuntimeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
