"""Tables and figures: each a notebook with parameters, and the part of the grid that it reads."""

from dataclasses import dataclass, field
from typing import Any

from lib.study import profiles
from lib.study.names import BACKBONES, METHODS, NAMES, nearest
from lib.system import paths


@dataclass(frozen=True)
class Artefact:
    """A table or figure: a notebook and its parameters, and the part of the grid that it reads."""

    title: str
    notebook: str
    parameters: dict[str, Any] = field(default_factory=dict, hash=False)
    study: str | None = "grid"  # or "augmentation", "resolution"; None: no run of the profile
    backbones: tuple[str, ...] = BACKBONES
    methods: tuple[str, ...] = METHODS
    networks: tuple[str, ...] = ()  # runs of the profile `walkthrough`, under any profile
    reads_measured: bool = False  # reads what was measured on the runs (lib.store.measured), too


WALKTHROUGH = tuple(
    f"{system}-d45-s42"
    for system in ("simclr-resnet18", "mae-vit_tiny", "random-resnet18", "random-vit_tiny")
)
EVERY = ["f1", "f2ciw", "f1_normal", "precision", "recall"]


def _imbalance(name: str, title: str, backbone: str, metrics: list[str]) -> Artefact:
    parameters = {"artefact": name, "backbone": backbone, "metrics": metrics}
    title = f"{title}, {NAMES[backbone]}"
    return Artefact(title, "val_imbalance", parameters, backbones=(backbone,))


def _monitoring(name: str, method: str) -> Artefact:
    title = f"Monitoring metrics of {NAMES[method]} by epoch"
    parameters = {"artefact": name, "method": method}
    return Artefact(title, "monitoring", parameters, methods=(method,))


def _detectors(name: str, title: str) -> Artefact:
    title = f"Detectors without labels: {title}"
    return Artefact(title, "detectors", {"artefact": name}, reads_measured=True)


ARTEFACTS = {
    "table1": Artefact("Detection at the natural validation share", "table1"),
    "table2": Artefact(
        "Supervised detection by input resolution", "resolution", study="resolution"
    ),
    "table3": _imbalance("table3", "Train share by validation share", "resnet18", EVERY),
    "table4": _imbalance("table4", "Train share by validation share", "vit_tiny", EVERY),
    "table5": Artefact("Images of every defect class", "data", {"artefact": "table5"}, study=None),
    "fig1": Artefact("Images and their classes", "data", {"artefact": "fig1"}, study=None),
    "fig2": _imbalance("fig2", "F1 under imbalance", "resnet18", ["f1"]),
    "fig3": Artefact("Augmentation ablation, supervised", "augmentation", study="augmentation"),
    "fig4": _imbalance(
        "fig4", "F1, F2CIW and F1Normal under imbalance", "resnet18", ["f1", "f2ciw", "f1_normal"]
    ),
    "fig5": _imbalance(
        "fig5",
        "Precision, recall and F1 under imbalance",
        "resnet18",
        ["precision", "recall", "f1"],
    ),
    "fig6": _monitoring("fig6", "simclr"),
    "fig7": _monitoring("fig7", "byol"),
    "fig8": _monitoring("fig8", "dino"),
    "fig9": Artefact("Train F1 against RankMe", "rankme", {"artefact": "fig9"}),
    "fig10": Artefact("Validation F1 against RankMe", "rankme", {"artefact": "fig10"}),
    "claims": Artefact("The paper's claims, tested", "claims", reads_measured=True),
    "protocol": Artefact("What the released code's protocol does to the results", "protocol"),
    "classes": Artefact(
        "Recall by class, ResNet-18", "classes", {"backbone": "resnet18"}, backbones=("resnet18",)
    ),
    "detectors": _detectors("detectors", "beside the probe"),
    "detectors-shares": _detectors("detectors-shares", "AUROC by train share"),
    "detectors-gallery": _detectors("detectors-gallery", "where they err"),
    "labelfree": Artefact(
        "Which label-free measure finds a good representation", "labelfree", reads_measured=True
    ),
    "walkthrough": Artefact(
        "From one image to a verdict",
        "walkthrough",
        study=None,
        networks=WALKTHROUGH,
    ),
}


def of_profile(profile: str) -> list[str]:
    """The artefacts of a profile whose notebook exists, in the paper's order. Those that show
    networks trained on simulated frames are left out where the images are others."""
    notebooks = {path.stem for path in paths.NOTEBOOKS.glob("*.ipynb")}
    simulated = profiles.load(profile)["data"]["source"] == "simulated"
    return [
        name
        for name, artefact in ARTEFACTS.items()
        if artefact.notebook in notebooks and (simulated or not artefact.networks)
    ]


def named(name: str, notebook: str) -> str:
    """`name`, if `notebook` draws an artefact of that name; else ValueError naming the nearest."""
    own = [key for key, artefact in ARTEFACTS.items() if artefact.notebook == notebook]
    return nearest(name, own, f"artefact of {notebook}.ipynb")


def command(target: str, given: dict[str, Any]) -> str:
    """The make command for `target` with the `given` profile, protocol and choice of runs."""
    own = profiles.load(given["profile"])["data"]["source"] == "own"
    variables = {
        "PROFILE": given["profile"],
        "PROTOCOL": given.get("protocol", ""),
        "METHODS": ",".join(given.get("methods", ())),
        "BACKBONES": ",".join(given.get("backbones", ())),
        "TRAIN_SHARES": ",".join(f"{share:g}" for share in given.get("train_shares", ())),
        "SEEDS": ",".join(map(str, given.get("seeds", ()))),
        "LABELS": "your.csv" if own else "",
    }
    words = [f"{name}={value}" for name, value in variables.items() if value]
    return " ".join([f"make {target}", *words])
