"""How a number with its interval is printed, and which word its interval earns."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lib.measures.seeds import ENOUGH


def minus(pattern: str) -> Callable[[float], str]:
    """How one number is printed, with a minus sign in place of the hyphen."""
    return lambda value: pattern.format(value).replace("-", "−")


SIGNED = minus("{:+.2f}")  # of differences and correlations
PLAIN = minus("{:.2f}")
FINE = minus("{:+.3f}")  # of differences between systems


def estimate(value: float, low: float, high: float, form: Callable[[float], str] = SIGNED) -> str:
    """`+0.05 [−0.04, +0.14]`; the value alone where it has no interval, a dash where it is nan.

    `form` prints one number.
    """
    if np.isnan(value):
        return "–"
    return form(value) if np.isnan(low) else f"{form(value)} [{form(low)}, {form(high)}]"


def of_row(row: pd.Series | dict, form: Callable[[float], str] = SIGNED) -> str:
    """`estimate` of the columns value, low and high."""
    return estimate(row["value"], row["low"], row["high"], form)


def difference(gap: dict[str, float]) -> str:
    """What results.difference gives, with three decimals: `+0.053 [+0.041, +0.064]`."""
    return estimate(gap["estimate"], gap["low"], gap["high"], FINE)


def here(n_seeds: int) -> str:
    """What follows a word: " in these runs" where seeds are too few for a verdict, else ""."""
    return " in these runs" * (n_seeds < ENOUGH)


def verdict(low: float, high: float, above: str, below: str, neither: str) -> str:
    """`above` for an interval above zero, `below` for one below it; `neither` else, and for nan."""
    return above if low > 0 else below if high < 0 else neither
