"""What a footer says of where numbers come from: data, profile, seeds, sizes, runs. Knows no torch."""

from collections import Counter

from lib import datasets, runs, study
from lib.study import Run


def of_runs(wanted: list[Run | runs.Stored]) -> dict:
    """What a footer says of these runs: data, profile, seeds, sizes, and how many are fresh or from the reference."""
    stored = [runs.load(run) for run in wanted]
    first = stored[0]
    table, videos_known = runs.validation(first)
    data, p = first.run.data, study.profile(first.run.profile)
    return {
        "data": _data_name(data),
        "profile": first.run.profile,
        "title": p["title"],
        "px": first.run.px,
        "width": first.run.settings["width"],
        "epochs": sorted({s.run.settings["epochs"] for s in stored}),
        "train_shares": len({s.run.share for s in stored}),
        "seeds": sorted({s.run.seed for s in stored}),
        "n_validation": len(table),
        "defect_share": float(table["Defect"].mean()),
        "n_groups": int(table["Video"].nunique()),
        "bootstrap_unit": "videos" if videos_known else "images",
        "fresh": sum(s.origin == "fresh" for s in stored),
        "reference": sum(s.origin == "reference" for s in stored),
        "health": dict(Counter(runs.health(s) for s in stored)),
    }


def of_data(profile: str) -> dict:
    """What a footer says where no run is read, only the images of `profile`, drawn first where they are not there."""
    p = study.profile(profile)
    training, validation = (len(datasets.tables(p["data"], split)[0]) for split in datasets.TABLES)
    return {
        "data": _data_name(p["data"]), "source": p["data"]["source"], "profile": profile, "title": p["title"],
        "n_training": training, "n_validation": validation,
    }  # fmt: skip


def _data_name(data: dict) -> str:
    """What a footer calls the data; one's own with how they were split."""
    if data["source"] != "own":
        return "simulated Sewer-ML" if data["source"] == "simulated" else "Sewer-ML"
    _, leak = datasets.own(datasets.labels_csv(), data["seed"])
    return f"{datasets.labels_csv().name}" + f" ({leak.rstrip('.')})" * bool(leak)
