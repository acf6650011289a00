"""Scores in, numbers out: every metric, interval, claim and verdict that a table or figure shows.

`collect` is the way in from outside; `results` is what the other modules build on.
"""

from itertools import product

import numpy as np
import pandas as pd

from lib.analysis import results, scoring
from lib.store.stored import find
from lib.study import grid, names, profiles
from lib.system.errors import DataError


def collect(profile: str) -> pd.DataFrame:
    """A row per run x validation share (NaN: natural) x evaluation x probe, every metric a column.

    Shares are read as the probe's protocol does: by subsampling for the online probe, by weights
    for the converged one. Seeds are those of the profile and of its reference. Runs that cannot be
    read, and shares that a small table cannot reach, are left out.
    """
    rows = []
    settings = profiles.load(profile)
    shares = [None, *settings["validation_shares"]]
    seeds = sorted({seed for key in ("seeds", "reference_seeds") for seed in settings[key]})
    for run in grid.cells(profile, seeds=seeds):
        stored = find(run)
        if stored is None:
            continue
        which = results.identity(run) | {"validation_share": np.nan}
        which |= {"origin": stored.origin}
        health = {p: results.health([stored], p)[run.id] for p in ("online", "converged")}
        evaluations = stored.scores["evaluation"].unique()
        for evaluation, rule, share in product(evaluations, names.PROTOCOLS.values(), shares):
            reading = {"evaluation": evaluation, "probe": rule.probe}
            try:
                values = scoring.draws(
                    stored, **reading, shares=[share], sampling=rule.sampling, resamples=0
                )
            except DataError:  # too few images of one's own for that share
                continue
            place = reading if share is None else reading | {"validation_share": share}
            scores = {name: value[0, 0] for name, value in values.items()}
            rows.append(which | place | {"health": health[rule.probe]} | scores)
    return pd.DataFrame(rows)
