"""One short file a method, loaded by name; each reads like its paper's equations."""

import importlib


def build(run, **options):
    """The method of a Run, its weights drawn from the global generator; see
    `lib.methods.base.Method` for the options.

    Raises AttributeError where the method's file lacks the class that lib.study.settings names.
    """
    module, name = run.settings.code.split(":")
    methods = importlib.import_module(module)
    if not hasattr(methods, name):
        raise AttributeError(
            f"{module.replace('.', '/')}.py has no class {name}, which `code` of '{run.method}' in "
            "lib/study/settings.py names."
        )
    return getattr(methods, name)(run, **options)
