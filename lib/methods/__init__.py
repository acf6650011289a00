"""One short file a method, loaded by name; each reads like its paper's equations."""

import importlib

from lib.study import names

# A method's name in the study -> (module, class)
CLASSES = {
    "supervised": ("supervised", "Supervised"),
    "byol": ("byol", "BYOL"),
    "barlow": ("barlow", "BarlowTwins"),
    "simclr": ("simclr", "SimCLR"),
    "dino": ("dino", "DINO"),
    "mae": ("mae", "MAE"),
    "mae-released": ("mae", "ReleasedMAE"),
    "random": ("untrained", "Untrained"),
} | {name: (name.replace("-", "_"), title.replace(" ", "")) for name, title in names.ADDED.items()}


def build(run, **options):
    """The method of a Run, its weights drawn from the global generator; see
    `lib.methods.base.Method`.

    Raises AttributeError where an added method's file lacks the class that its title names.
    """
    module, name = CLASSES[run.method]
    found = importlib.import_module(f"lib.methods.{module}")
    if not hasattr(found, name):
        raise AttributeError(
            f"lib/methods/{module}.py has no class {name}: its name is the title of '{run.method}' in "
            "lib/study/profiles/paper.toml without blanks."
        )
    return getattr(found, name)(run, **options)
