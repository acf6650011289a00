"""What a footer says of where numbers come from: data, profile, seeds, sizes, runs. Knows no
torch."""

from collections import Counter

from lib.analysis import results
from lib.data import sources
from lib.store.stored import Stored, load
from lib.study import profiles
from lib.study.grid import Run


def of_runs(wanted: list[Run | Stored]) -> dict:
    """What a footer says of these runs: data, profile, seeds, sizes, and how many are fresh or from
    the reference."""
    stored = [load(run) for run in wanted]
    first = stored[0]
    table, videos_known = results.validation(first)
    data, p = first.run.data, profiles.load(first.run.profile)
    return {
        "data": _data_name(data),
        "profile": first.run.profile,
        "title": p["title"],
        "px": first.run.px,
        "width": first.run.settings.width,
        "epochs": sorted({s.run.settings.epochs for s in stored}),
        "train_shares": len({s.run.share for s in stored}),
        "seeds": sorted({s.run.seed for s in stored}),
        "n_validation": len(table),
        "defect_share": float(table["Defect"].mean()),
        "n_groups": int(table["Video"].nunique()),
        "bootstrap_unit": "videos" if videos_known else "images",
        "fresh": sum(s.origin == "fresh" for s in stored),
        "reference": sum(s.origin == "reference" for s in stored),
        "health": dict(Counter(results.health(s) for s in stored)),
    }


def of_data(profile: str) -> dict:
    """What a footer says where no run is read, only the images of `profile`, drawn first where they
    are not there."""
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
    if data["source"] != "own":
        return "simulated Sewer-ML" if data["source"] == "simulated" else "Sewer-ML"
    _, leak = sources.own(sources.labels_csv(), data["seed"])
    return f"{sources.labels_csv().name}" + f" ({leak.rstrip('.')})" * bool(leak)
