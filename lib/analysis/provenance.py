"""What a footer says of where numbers come from: data, profile, seeds, sizes, runs."""

from collections import Counter

import pandas as pd

from lib.analysis import results, scoring
from lib.data import archive, sources
from lib.measures import bootstrap
from lib.store.stored import Stored, load
from lib.study import profiles
from lib.study.grid import Run
from lib.study.names import SOURCES


def of_runs(wanted: list[Run | Stored]) -> dict:
    """What a footer says of these runs: data, profile, seeds, sizes, how many are fresh."""
    stored = [load(run) for run in wanted]
    runs = [one.run for one in stored]
    trained = [one for one in stored if one.run.method != "random"]
    profile, verdicts = runs[0].profile, results.health(trained)
    cells: dict[Run, list[str]] = {}  # of each the verdicts, one per seed
    for one in trained:
        cells.setdefault(one.run.cell, []).append(verdicts[one.run.id])
    facts = {
        "data": _data_name(runs[0].data),
        "source": runs[0].data["source"],
        "profile": profile,
        "networks": _networks(runs),
        "epochs": sorted({run.settings.epochs for run in runs}),
        "train_shares": len({run.share for run in runs}),
        "seeds": sorted({run.seed for run in runs}),
        "fresh": sum(one.origin == "fresh" for one in stored),
        "reference": sum(one.origin == "reference" for one in stored),
        "health": dict(Counter(verdicts.values())),
        "marks": dict(Counter(map(results.worst, cells.values()))),
    }
    return facts | of_validation(stored[0])


def of_validation(stored: Stored) -> dict:
    """What a footer says of the validation images behind a run: how many, with which share of
    defects, in how many groups, and what intervals resample."""
    table, videos_known = scoring.validation(stored)
    groups = SOURCES[stored.run.data["source"]].groups
    unit = groups if videos_known else "images"
    return {
        "n_validation": len(table),
        "defect_share": float(table["Defect"].mean()),
        "n_groups": int(table["Video"].nunique()),
        "bootstrap_unit": unit,
        "groups": groups,
        "few": _few(table, unit),
    }


def _networks(runs: list[Run]) -> dict[str, dict]:
    """Backbone -> its inputs' sides in pixels, the width of its channels against the full network,
    and of ViT-Tiny its blocks."""
    networks: dict[str, dict] = {}
    for run in runs:
        facts = networks.setdefault(run.backbone, {"px": [], "width": run.settings.width})
        facts["px"] = sorted({*facts["px"], run.px})
        if run.backbone == "vit_tiny":
            facts["blocks"] = run.settings.depth
    return networks


def _few(table: pd.DataFrame, unit: str) -> str:
    """How many videos or images of either kind there are, where they are too few for an interval;
    else ""."""
    sampled = table[table["Sampled"]]
    counts = [sampled.loc[sampled["Defect"] == kind, "Video"].nunique() for kind in (1, 0)]
    if min(counts) >= bootstrap.FEWEST:
        return ""
    return (
        f"{unit} with a defect: {counts[0]}, without: {counts[1]}; "
        f"an interval takes {bootstrap.FEWEST} of each"
    )


def of_data(profile: str) -> dict:
    """What a footer says where only the images of `profile` are read; they are drawn if needed."""
    p = profiles.load(profile)
    training, validation = (sources.tables(p["data"], split)[0] for split in sources.TABLES)
    grouped = "Group" in validation
    return {
        "data": _data_name(p["data"]),
        "source": p["data"]["source"],
        "profile": profile,
        "n_training": len(training),
        "n_validation": len(validation),
        "n_groups": pd.concat([training, validation])["Group"].nunique() if grouped else 0,
        "groups": SOURCES[p["data"]["source"]].groups,
    }


def _data_name(data: dict) -> str:
    """What a footer calls the data; one's own with how they were split."""
    if data["source"] == "solar":
        return "ELPV, modules inferred from the order of the cells"
    if data["source"] != "own":
        return "simulated Sewer-ML" if archive.is_simulated(data) else "Sewer-ML"
    _, leak = sources.own(sources.labels_csv(data), data["seed"])
    return sources.labels_csv(data).name + (f" ({leak.rstrip('.')})" if leak else "")
