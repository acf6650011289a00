"""What detectors without labels find: measured as probes are, by train share, and where they err.
Knows no torch.

measured = detections.measure(wanted, "clean")
fig = detections.by_share(report.over_seeds(measured, detections.KEYS))
"""

from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.analysis import results
from lib.data import gallery as gallery_module
from lib.data import sources
from lib.report.image_grid import MARKED
from lib.report.scatter_plot import steps
from lib.report.style import DOUBLE, MARKS, STYLE
from lib.store import measured
from lib.store.measured import Detected, Stored
from lib.store.stored import load
from lib.study.grid import Run
from lib.study.names import CLASSES, METRIC_NAMES, label, share

NAMES = {
    "probe": "Probe, with labels",
    "knn": "kNN",
    "mahalanobis": "Mahalanobis",
    "pca": "PCA residual",
    "forest": "Isolation forest",
    "reconstruction": "Reconstruction",
}
SETTINGS = {"labels": "-", "normals": "-", "unlabelled": (0, (3, 1.5))}  # and how a curve is drawn
KEYS = (
    "method",
    "backbone",
    "train_share",
    "detector",
    "setting",
    "metric",
)  # what one value belongs to
ENDS = ("Most anomalous normals", "Most anomalous defects", "Least anomalous defects")


def measure(
    wanted: list[Run | Stored], protocol: str, resamples: int | None = None
) -> pd.DataFrame:
    """`runs.measure` at the natural validation share of every run's probe and detectors: columns
    detector, setting.

    The probe's setting is "labels"; a detector reads the plain image whatever the protocol.
    """
    parts = []
    for run in wanted:
        for one in (load(run), *measured.detected(run)):
            name = (one.detector, one.setting) if isinstance(one, Detected) else ("probe", "labels")
            found = results.measure([one], protocol, resamples=resamples)
            parts.append(found.assign(detector=name[0], setting=name[1]))
    return pd.concat(parts, ignore_index=True)


def columns(reduced: pd.DataFrame, setting: str) -> pd.DataFrame:
    """The rows of one setting, and the probe's, detectors by their printed names; NaN where a
    system has none."""
    chosen = reduced[reduced["setting"].isin((setting, "labels"))]
    systems, others = chosen[["method", "backbone"]].drop_duplicates(), chosen["metric"].unique()
    names = [name for name in NAMES if name in set(chosen["detector"])]
    full = systems.merge(pd.DataFrame({"detector": names}), "cross").merge(
        pd.DataFrame({"metric": others}), "cross"
    )
    full = full.merge(chosen, "left", on=["method", "backbone", "detector", "metric"])
    return full.assign(
        detector=full["detector"].map(NAMES), health=full["health"].fillna("healthy")
    )


def _looks() -> dict[str, dict]:
    """The look of each detector's curve: the probe in black, the others told apart in grey, too."""
    colours = ["black", *steps(4), "#D55E00"]
    return {
        name: {"color": colour, "marker": marker, "markersize": 2.6, "linewidth": 0.9}
        for name, colour, marker in zip(NAMES, colours, "Dos^vX", strict=True)
    }


def by_share(reduced: pd.DataFrame, metric: str = "auroc", across: int = 4) -> Figure:
    """`metric` by train share, a panel a system and a curve a detector: fitted on normals, or
    dashed, unlabelled."""
    found = reduced[reduced["metric"] == metric]
    systems, shares, looks = (
        found.groupby(["method", "backbone"], sort=False),
        found["train_share"].unique(),
        _looks(),
    )
    tall = -(-(systems.ngroups + 1) // across)  # a panel's room for the legend
    place = {p: i for i, p in enumerate(sorted(shares))}
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(
            tall,
            across,
            figsize=(DOUBLE, 1.25 * tall + 0.2),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for ax, ((method, backbone), own) in zip(axes.flat, systems, strict=False):
            ax.axhline(0.5, color="0.8", linewidth=0.5, zorder=0)
            for (detector, setting), curve in own.groupby(["detector", "setting"], sort=False):
                curve = curve.sort_values("train_share")
                ax.plot(
                    curve["train_share"].map(place),
                    curve["value"],
                    linestyle=SETTINGS[setting],
                    **looks[detector],
                )
            probe = own[own["detector"] == "probe"]
            for p, value, health in probe[["train_share", "value", "health"]].itertuples(
                index=False
            ):
                ax.annotate(
                    MARKS[health],
                    (place[p], value),
                    xytext=(0, 2.5),
                    textcoords="offset points",
                    ha="center",
                )
            ax.set_title(f"{label(method)}, {label(backbone)}", pad=3)
        for ax in axes.flat[systems.ngroups :]:
            ax.axis("off")
        for ax in axes.flat[max(0, systems.ngroups - across) : systems.ngroups]:
            ax.set_xticks(range(len(place)), [share(p) for p in place])
            ax.set_xlabel("Defects in training")
            ax.tick_params(labelbottom=True)
        for ax in axes[:, 0]:
            ax.set_ylabel(METRIC_NAMES[metric])
        handles = [
            Line2D([], [], label=NAMES[n], **looks[n]) for n in NAMES if n in set(found["detector"])
        ]
        handles += [
            Line2D(
                [], [], color="0.3", linewidth=0.9, linestyle=SETTINGS[s], label=f"fitted on {told}"
            )
            for s, told in (("normals", "normals alone"), ("unlabelled", "the unlabelled subset"))
        ]
        axes.flat[systems.ngroups].legend(handles=handles, loc="center left", frameon=False)
        plt.close(fig)
        return fig


# The gallery


@dataclass
class Strip:
    """A row of frames (h, w, 3) uint8 with captions and boxes; `maps` (p, p) of each, what was not
    reconstructed."""

    title: str
    images: list[np.ndarray]
    captions: list[str]
    boxes: list[pd.DataFrame]
    maps: list[np.ndarray] = field(default_factory=list)


def ends(view: Detected, n: int) -> pd.DataFrame:
    """`n` validation images of each of `ENDS`, a row each: run, detector, End, score and the
    table's columns."""
    table, _ = results.validation(view)
    scores = view.scores.drop_duplicates("Filename").set_index("Filename")["logit"].astype(float)
    ranked = table.assign(score=table["Filename"].map(scores)).sort_values(
        "score", ascending=False, kind="stable"
    )
    normals, defects = (ranked[ranked["Defect"] == kind] for kind in (0, 1))
    parts = zip(ENDS, (normals.head(n), defects.head(n), defects.tail(n)[::-1]), strict=True)
    found = pd.concat([part.assign(End=end) for end, part in parts], ignore_index=True)
    return found.assign(run=view.run.id, detector=view.detector)


def strips(view: Detected, chosen: pd.DataFrame) -> list[Strip]:
    """The rows of `ends` as frames to draw, with heat maps where the detector has them."""
    data, maps = (
        view.run.data,
        measured.record(view).get("maps", {}) if view.detector == "reconstruction" else {},
    )
    stored, boxes = sources.images(data, "val"), gallery_module.boxes(data)
    who = f"{label(view.run.method)}, {label(view.run.backbone)}, {NAMES[view.detector]}"
    made = []
    for end, part in chosen.groupby("End", sort=False):
        names, found = list(part["Filename"]), [maps.get(name) for name in part["Filename"]]
        made.append(
            Strip(
                f"{end} ({who})",
                [stored.read(name) for name in names],
                [_caption(row) for _, row in part.iterrows()],
                [boxes[boxes["Filename"] == name] for name in names],
                [np.reshape(m, (round(len(m) ** 0.5), -1)) for m in found] if maps else [],
            )
        )
    return made


def _caption(row: pd.Series) -> str:
    codes = " + ".join(name for name in CLASSES if row.get(name, 0) == 1)
    return f"{codes or ('Defect' if row['Defect'] else 'Normal')} {row['score']:+.1f}"


def gallery(rows: list[Strip]) -> Figure:
    """The strips below one another, a strip's heat maps, on one scale, below its frames."""
    lines = [
        line for strip in rows for line in ((strip, False), (strip, True))[: 1 + bool(strip.maps)]
    ]
    across, image = max(len(strip.images) for strip in rows), rows[0].images[0]
    values = np.concatenate([np.ravel(m) for strip in rows for m in strip.maps] or [np.zeros(1)])
    norm = Normalize(*np.quantile(values, (0.02, 0.98)))
    tall = DOUBLE / across * image.shape[0] / image.shape[1]
    height = len(lines) * (tall + 0.02) + 0.28 * len(rows) + 0.4 * bool(len(values) > 1)
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(
            len(lines), across, figsize=(DOUBLE, height), squeeze=False, layout="constrained"
        )
        fig.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
        for ax in axes.flat:
            ax.axis("off")
        for (strip, mapped), line in zip(lines, axes, strict=True):
            _draw(line, strip, mapped, norm)
        if len(values) > 1:
            fig.colorbar(
                ScalarMappable(norm, "inferno"),
                ax=list(axes[-1]),
                location="bottom",
                fraction=0.06,
                pad=0.02,
                aspect=60,
                label="Error of the masked patch (normalised pixels squared)",
            )
        plt.close(fig)
        return fig


def _draw(line, strip: Strip, mapped: bool, norm: Normalize) -> None:
    """One row of axes: frames with captions and boxes, or, `mapped`, grey frames under their heat
    maps."""
    for i, (ax, image, text, found) in enumerate(
        zip(line, strip.images, strip.captions, strip.boxes, strict=False)
    ):
        if mapped:
            h, w = image.shape[:2]
            ax.imshow(image.mean(axis=2), cmap="gray", interpolation="bicubic")
            ax.imshow(
                strip.maps[i],
                cmap="inferno",
                norm=norm,
                alpha=0.45,
                extent=(-0.5, w - 0.5, h - 0.5, -0.5),
                interpolation="nearest",
            )
            continue
        ax.imshow(image, interpolation="bicubic")
        ax.set_title(
            f"\n{text}", fontsize=5, loc="left", pad=1.5
        )  # the strip's title has the first line
        if i == 0:
            title = ax.annotate(
                strip.title,
                (0, 1),
                xycoords="axes fraction",
                xytext=(0, 8.5),
                fontsize=6,
                textcoords="offset points",
                weight="bold",
                annotation_clip=False,
            )
            title.set_in_layout(False)  # it runs on over the next frames
        for box in found.itertuples():
            ax.add_patch(
                plt.Rectangle(
                    (box.x0 - 0.5, box.y0 - 0.5),
                    box.x1 - box.x0,
                    box.y1 - box.y0,
                    fill=False,
                    edgecolor=MARKED,
                    linewidth=0.7,
                )
            )
