"""One short file a method, loaded by name; each reads like its paper's equations."""

import importlib

# A method's name in the study -> (module, class)
CLASSES = {
    "supervised": ("supervised", "Supervised"),
    "byol": ("byol", "BYOL"),
    "barlow": ("barlow", "BarlowTwins"),
    "simclr": ("simclr", "SimCLR"),
    "dino": ("dino", "DINO"),
    "mae": ("mae", "MAE"),
    "mae-released": ("mae", "ReleasedMAE"),
    "random": ("random", "Random"),
}


def build(run, **options):
    """The method of a Run, its weights drawn from the global generator; see `lib.methods.base.Method`."""
    module, name = CLASSES[run.method]
    return getattr(importlib.import_module(f"lib.methods.{module}"), name)(run, **options)
