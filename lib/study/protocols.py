"""The two protocols by which stored scores are read."""

from dataclasses import dataclass

from lib.study import names


@dataclass(frozen=True)
class Protocol:
    """How stored scores are read: docs/study.md, quirks 2 and 3."""

    probe: str  # "online" or "converged"
    table: str  # evaluation behind Table 1 and the ablations
    imbalance: str  # evaluation behind the validation shares
    sampling: str  # "subsample" draws defects, "weights" weights them


PROTOCOLS = {
    "paper": Protocol(probe="online", table="augmented", imbalance="flip", sampling="subsample"),
    "clean": Protocol(probe="converged", table="clean", imbalance="clean", sampling="weights"),
}


def find(name: str) -> Protocol:
    """The protocol of that name; raises ValueError naming the nearest one for an unknown name."""
    return PROTOCOLS[names.nearest(name, PROTOCOLS, "protocol")]
