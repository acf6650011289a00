"""How often intervals over seeds hold the truth, and how often a claim without an effect is called
supported: simulated studies, judged by lib.measures.seeds as every table and claim is.

    calibration.table()    (make docs writes it to docs/calibration.csv)

A study has S runs, scored on the same videos. Its statistic is a mean over videos; the truth is 0.
The sampling error has the standard deviation 1. The part `COMMON` of its variance is shared by the
runs, whose networks agree on which videos are hard. Each run adds noise of its own, whose standard
deviation is one of `NOISE`.
"""

import numpy as np
import pandas as pd

from lib.measures import seeds

SEEDS = (3, 5, 10)
NOISE = (0, 1, 3)  # standard deviation of the runs, in those of the sampling error
COMMON = 0.7  # part of the sampling variance
VIDEOS, DRAWS, STUDIES = 100, 200, 10_000
PARTS = 4


def studies(n_seeds: int, noise: float, seed: int = 0) -> np.ndarray:
    """Draws (STUDIES, S, 1 + DRAWS) of studies without an effect, as those of a statistic."""
    rng, size = np.random.default_rng([seed, n_seeds, noise]), (STUDIES, n_seeds, VIDEOS)
    counts = rng.multinomial(VIDEOS, [1 / VIDEOS] * VIDEOS, size=DRAWS)
    weights = np.vstack([np.ones(VIDEOS), counts]).T.astype(np.float32) / VIDEOS
    common = rng.standard_normal((STUDIES, 1, VIDEOS), np.float32) * np.sqrt(COMMON * VIDEOS)
    own = rng.standard_normal(size, np.float32) * np.sqrt((1 - COMMON) * VIDEOS)
    runs = noise * rng.standard_normal((*size[:2], 1), np.float32)
    return (common + own + runs) @ weights


def table() -> pd.DataFrame:
    """A row per number of seeds and noise: seeds, noise; coverage, how many 95 % intervals hold the
    truth; supported, how many lie above it; contradicted, how many claims of `PARTS` independent
    parts have one that lies below it at the corrected level."""
    rows = []
    for n_seeds in SEEDS:
        for noise in NOISE:
            drawn = studies(n_seeds, noise)
            low, high = seeds.interval(drawn)
            _, corrected = seeds.interval(drawn, 1 - 0.05 / PARTS)
            shares = {
                "coverage": ((low <= 0) & (high >= 0)).mean(),
                "supported": (low > 0).mean(),
                "contradicted": (corrected.reshape(-1, PARTS) < 0).any(axis=1).mean(),
            }
            where = {"seeds": n_seeds, "noise": noise}
            rows.append(where | {name: round(float(x), 4) for name, x in shares.items()})
    return pd.DataFrame(rows)
