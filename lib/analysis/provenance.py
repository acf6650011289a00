"""What a footer says of where numbers come from: data, profile, seeds, sizes, runs."""

from collections import Counter

from lib.analysis import results
from lib.data import sources
from lib.store.stored import Stored, load
from lib.study import profiles
from lib.study.grid import Run
from lib.study.names import SOURCES


def of_runs(wanted: list[Run | Stored]) -> dict:
    """What a footer says of these runs: data, profile, seeds, sizes, how many are fresh."""
    stored = [load(run) for run in wanted]
    runs = [one.run for one in stored]
    table, videos_known = results.validation(stored[0])
    profile, groups = runs[0].profile, SOURCES[runs[0].data["source"]].groups
    return {
        "data": _data_name(runs[0].data),
        "profile": profile,
        "title": profiles.load(profile)["title"],
        "px": runs[0].px,
        "width": runs[0].settings.width,
        "epochs": sorted({run.settings.epochs for run in runs}),
        "train_shares": len({run.share for run in runs}),
        "seeds": sorted({run.seed for run in runs}),
        "n_validation": len(table),
        "defect_share": float(table["Defect"].mean()),
        "n_groups": int(table["Video"].nunique()),
        "bootstrap_unit": groups if videos_known else "images",
        "groups": groups,
        "fresh": sum(one.origin == "fresh" for one in stored),
        "reference": sum(one.origin == "reference" for one in stored),
        "health": dict(Counter(map(results.health, stored))),
    }


def of_data(profile: str) -> dict:
    """What a footer says where only the images of `profile` are read; they are drawn if needed."""
    p = profiles.load(profile)
    training, validation = (len(sources.tables(p["data"], split)[0]) for split in sources.TABLES)
    return {
        "data": _data_name(p["data"]),
        "source": p["data"]["source"],
        "profile": profile,
        "title": p["title"],
        "n_training": training,
        "n_validation": validation,
    }


def _data_name(data: dict) -> str:
    """What a footer calls the data; one's own with how they were split."""
    if data["source"] == "solar":
        return "ELPV, modules inferred from the order of the cells"
    if data["source"] != "own":
        return "simulated Sewer-ML" if data["source"] == "simulated" else "Sewer-ML"
    _, leak = sources.own(sources.labels_csv(data), data["seed"])
    return sources.labels_csv(data).name + (f" ({leak.rstrip('.')})" if leak else "")
