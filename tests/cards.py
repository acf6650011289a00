"""Made-up content of artefacts: the facts of a footer, and a scorecard, claims 1 and 2 under both
protocols, on both metrics, by both MAEs."""

from collections.abc import Callable
from itertools import product

import pandas as pd

from lib.analysis import judgement
from lib.study.names import PROTOCOLS

FACTS = {
    "data": "simulated Sewer-ML",
    "source": "simulated",
    "profile": "mini",
    "networks": {
        "resnet18": {"px": [64], "width": 0.25},
        "vit_tiny": {"px": [48], "width": 0.5, "blocks": 4},
    },
    "epochs": [5, 10],
    "train_shares": 5,
    "seeds": [42],
    "n_validation": 1500,
    "n_groups": 75,
    "bootstrap_unit": "videos",
    "groups": "videos",
    "fresh": 3,
    "reference": 5,
}


def card(supported: Callable[[int, str, str], bool], auroc: float = 0.0) -> pd.DataFrame:
    """Rows as of `judgement.score`. Claim n has the value n / 10, on AUROC `auroc` more, and is
    "supported" where `supported(n, protocol, metric)`, else "inconclusive"."""
    cases = product((1, 2), sorted(PROTOCOLS), judgement.VARIANTS, judgement.SCORES)
    return pd.DataFrame(
        {
            "claim": n,
            "line": "",
            "text": f"claim {n}",
            "statistic": "a − b at 1 %",
            "unit": judgement.UNITS[0],
            "limits": "0",
            "protocol": protocol,
            "mae": mae,
            "metric": metric,
            "seeds": 3,
            "value": 0.1 * n + auroc * (metric == "auroc"),
            "low": 0.0,
            "high": 0.2 * n,
            "limit": 0.0,
            "claimed": "above",
            "verdict": "supported" if supported(n, protocol, metric) else "inconclusive",
            "part": "",
            "parts": "",
            "note": "",
        }
        for n, protocol, mae, metric in cases
    )
