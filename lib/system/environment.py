"""What the environment asks for, read and checked in one place."""

import os


def number(name: str, default: int, what: str) -> int:
    """A whole number of 1 or more from the environment. Raises ValueError for anything else."""
    value = os.environ.get(name) or str(default)
    if not (value.isdigit() and int(value)):
        raise ValueError(f"{name}={value}: {what}, a whole number of 1 or more.")
    return int(value)


def chosen() -> dict[str, list | None]:
    """METHODS and SEEDS of the environment, separated by commas or blanks, as arguments of
    `study.runs`.

    Raises ValueError for a seed that is not a whole number; `study.runs` refuses unknown methods.
    """
    methods, seeds = (
        os.environ.get(name, "").replace(",", " ").split() or None for name in ("METHODS", "SEEDS")
    )
    if seeds and not all(s.isdigit() for s in seeds):
        raise ValueError(
            f"SEEDS={os.environ['SEEDS']}: seeds are whole numbers, separated by commas."
        )
    return {"methods": methods, "seeds": seeds and [int(s) for s in seeds]}
