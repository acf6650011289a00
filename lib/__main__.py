"""The command line, `python -m lib COMMAND ...`, which `make` calls.

What a command works on is read from the environment here, and passed on as arguments. A mistake of
the user becomes one sentence, "error: ...", and the exit status 2. Nothing slow is imported before
a command needs it.
"""

import argparse
import sys
from pathlib import Path

from lib.system import environment, errors


def _cluster(choices):
    """What CLUSTER asks for; None for this machine."""
    from lib.scheduling import slurm

    name = environment.text("CLUSTER")
    if not name:
        return None
    slurm.check_installed(name)
    minutes = environment.number("TIME", None, "minutes that a job may take")
    return slurm.Cluster(environment.text("PARTITION"), minutes, choices.jobs, choices.devices)


def _request(arguments: argparse.Namespace):
    from lib.scheduling.plan import Request

    return Request(
        **vars(arguments.choices),
        run_id=getattr(arguments, "id", None),
        force=environment.flag("FORCE"),
        yes=environment.flag("YES"),
        cluster=_cluster(arguments.choices),
    )


def run(arguments: argparse.Namespace) -> int:
    """train and measure what is missing for these artefacts (default: all), or one run"""
    from lib.scheduling import plan

    return plan.run(_request(arguments))


def render(arguments: argparse.Namespace) -> int:
    """render the tables and figures that are out of date (default: all)"""
    from lib.publish import notebooks, renderings
    from lib.system import hardware

    choices = arguments.choices
    profile = choices.profile
    with renderings.alone(profile):
        failed = notebooks.render(
            choices.artefacts,
            profile,
            choices.protocol,
            **choices.chosen,
            jobs=choices.jobs or hardware.cores(),
        )
    return 1 if failed else 0


def report(arguments: argparse.Namespace) -> None:
    """show what was rendered on pages that open from disk"""
    from lib.publish import pages, renderings

    choices = arguments.choices
    chosen = {"profile": choices.profile, "protocol": choices.protocol, **choices.chosen}
    with renderings.alone(choices.profile):
        print(f"report: {pages.renew(renderings.folder(chosen))}")


def replicate(arguments: argparse.Namespace) -> int:
    """run, then render; without the name of an artefact, all of them, then report"""
    from lib.publish import notebooks
    from lib.system import fork_server

    fork_server.PRELOADED += notebooks.PRELOADED
    status = run(arguments)
    if status:
        return status
    status = render(arguments)
    return status if arguments.choices.artefacts else report(arguments) or status


def notebook(arguments: argparse.Namespace) -> None:
    """execute any notebook with parameters, into a copy"""
    from lib.publish import notebooks
    from lib.system import paths

    path = notebooks.find(arguments.notebook)
    given = {name: notebooks.literal(value) for name, value in arguments.p}
    if "profile" in notebooks.parameters(path):
        given.setdefault("profile", arguments.choices.profile)
    build = paths.BUILD / given.get("profile", "mini")
    copy = arguments.to or build / "notebooks" / path.name
    notebooks.execute(path, given, copy)
    saved = given.get("output") or build / "stepped"
    print(f"{path.name}: executed copy in {copy}; what it saved is in {saved}")


def explain(arguments: argparse.Namespace) -> None:
    """say which runs are complete, missing or stale, and why"""
    from lib.scheduling import plan

    plan.explain(_request(arguments))


def estimate(arguments: argparse.Namespace) -> None:
    """say what the missing runs will take here: hours, disk, memory"""
    from lib.scheduling import plan

    request = _request(arguments)
    runs = [job.run for job in request.pending() if job.need() == "training"]
    if runs:
        plan.check_train_shares(runs)
        plan.estimated(runs, request)


def data(arguments: argparse.Namespace) -> None:
    """draw or check the images, and decode them once"""
    from lib.data import pixels
    from lib.study import profiles
    from lib.system import hardware

    profile = arguments.choices.profile
    pixels.prepare(profiles.load(profile)["data"], hardware.cores())


def data_check(arguments: argparse.Namespace) -> int:
    """say which data are there, against what is expected"""
    from lib.data.check import check
    from lib.system import hardware

    choices = arguments.choices
    profile = choices.profile
    if environment.sewerml_root() and not (environment.text("PROFILE") or environment.labels()):
        profile = "paper"
    wrong = check(profile, environment.flag("SCAN"), choices.jobs or hardware.cores())
    print(f"\n{len(wrong)} thing(s) wrong:" if wrong else "\nAll is well.", flush=True)
    for sentence in wrong:
        print(f"error: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


def labels(arguments: argparse.Namespace) -> None:
    """write the table of labels of images that lie in folders: good, scratch, ..."""
    from lib.data import folders

    folder = environment.path("FOLDER")
    if folder is None:
        raise ValueError("set FOLDER to a folder of images: make labels FOLDER=folder OUT=csv.")
    folders.write_labels(folder, environment.path("OUT") or folder / "labels.csv")


def archive(arguments: argparse.Namespace) -> None:
    """write simulated frames as Sewer-ML's archive lays them out"""
    from lib.data import archive
    from lib.system import hardware

    root = environment.sewerml_root()
    if root is None:
        raise ValueError("set SEWERML_ROOT to a new folder: make archive SEWERML_ROOT=/new/folder.")
    what = "how many frames to draw"
    train = environment.number("TRAIN", archive.TRAIN, what)
    val = environment.number("VAL", archive.VAL, what)
    archive.write(root, train, val, hardware.cores())
    print(f"{root}: {train} + {val} simulated frames laid out as Sewer-ML's archive; to rehearse")
    print(f"the paper's profile: make replicate PROFILE=rehearsal SEWERML_ROOT={root} YES=1")


def predict(arguments: argparse.Namespace) -> None:
    """score the images of a folder with a finished run"""
    from lib.system import paths

    profile = arguments.choices.profile
    images, run_id = environment.images(), environment.text("RUN")
    example = "simclr-resnet18-d45-s42"
    for name, value, what in (
        ("IMAGES", images, "a folder of images"),
        ("RUN", run_id, f"the id of a finished run, like {example}"),
    ):
        if not value:
            raise ValueError(f"set {name} to {what}: make predict IMAGES=folder RUN={example}.")
    from lib.training import predict

    out = environment.path("OUT") or paths.BUILD / profile / "predictions.csv"
    predict.predict(images, predict.find(profile, run_id), out)


def reference(arguments: argparse.Namespace) -> None:
    """renew the committed reference and figures from complete runs"""
    from lib.publish import reference

    reference.renew(arguments.choices.profile)


def compare(arguments: argparse.Namespace) -> int:
    """compare the runs made here with the committed reference"""
    from lib.publish import reference

    text, within = reference.summary(reference.compare(arguments.choices.profile))
    print(text)
    return 0 if within else 1


def docs(arguments: argparse.Namespace) -> None:
    """renew the numbers in the README and in docs/ from the reference"""
    from lib.publish import docs

    docs.renew()


COMMANDS = {
    command.__name__.replace("_", "-"): command
    for command in (
        *(replicate, run, render, report, notebook, explain, estimate, data, data_check),
        *(labels, archive, predict, reference, compare, docs),
    )
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__)
        if name in ("replicate", "run", "render", "explain", "estimate"):
            command.add_argument("artefacts", nargs="*", metavar="ARTEFACT")
        if name in ("run", "estimate"):
            command.add_argument("--id", help="one run, e.g. simclr-resnet18-d45-s42")
        if name == "notebook":
            command.add_argument("notebook")
            pair = {"nargs": 2, "metavar": ("NAME", "VALUE"), "help": "a parameter"}
            command.add_argument("-p", action="append", default=[], **pair)
            command.add_argument("--to", type=Path, help="the executed copy")
    return parser


def main(words: list[str] | None = None) -> int:
    """Run the command that `words`, or the process's arguments, name; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a terminal may lack a letter
    arguments = _parser().parse_args(words)
    try:
        from lib.study import choices
        from lib.system import atomic, paths

        atomic.sweep(paths.written())
        arguments.choices = choices.read(getattr(arguments, "artefacts", ()))
        return COMMANDS[arguments.command](arguments) or 0
    except KeyboardInterrupt as interrupt:
        stopped = "stopped; the same command continues from what is finished."
        print(f"\n{str(interrupt) or stopped}")
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        known = isinstance(error, OSError)
        sentence = errors.of_system(error, paths.WORKSPACE) if known else error
        print(f"error: {sentence}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
