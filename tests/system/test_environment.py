"""What the environment asks for is checked, and wrong values are told in one sentence.
pyproject.toml, requirements.txt and environment.yml say the same, and name no package index."""

import errno
import os
import re
import subprocess
import tomllib

import pytest
import torch
import yaml

from lib.__main__ import main
from lib.study import artefacts
from lib.system import environment, errors, hardware, paths, torch_device


@pytest.mark.parametrize(
    ("value", "on"), [("1", True), ("yes", True), ("", False), ("0", False), ("No", False)]
)
def test_a_flag_that_is_0_or_no_is_off(monkeypatch, value, on):
    monkeypatch.setenv("SCAN", value)
    assert environment.flag("SCAN") is on


RIGHTS = "change its permissions, or name another place."
NO_FOLDER = "or what it lies in is a file where a folder should be: name another place."


@pytest.mark.parametrize(
    "kind, number, sentence",
    [
        (
            PermissionError,
            errno.EACCES,
            f" cannot be read or written (permission denied): {RIGHTS}",
        ),
        (OSError, errno.EROFS, f" cannot be read or written (read-only file system): {RIGHTS}"),
        (NotADirectoryError, errno.ENOTDIR, f" {NO_FOLDER}"),
        (OSError, errno.EIO, ": input/output error."),
    ],
)
def test_errors_of_the_system_are_sentences(kind, number, sentence, tmp_path):
    """They were shown as [Errno 13] Permission denied: '/data'."""
    error = kind(number, os.strerror(number), str(tmp_path))
    assert errors.of_system(error, tmp_path / "w") == f"{tmp_path}{sentence}"


def test_a_sentence_of_this_suite_stays_as_it_is(tmp_path):
    assert errors.of_system(FileExistsError("x is there."), tmp_path) == "x is there."


def test_a_workspace_that_is_a_file_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(paths, "DATA", tmp_path / "file" / "data")
    monkeypatch.setenv("PROFILE", "smoke")
    assert main(["data"]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'file' / 'data'} {NO_FOLDER}\n"


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²", "00", " "])
def test_a_number_is_whole_and_positive(monkeypatch, value):
    monkeypatch.setenv("JOBS", value)
    with pytest.raises(ValueError, match=f"JOBS={value}: how many, a whole number of 1 or more"):
        environment.number("JOBS", None, "how many")


def test_empty_is_unset(monkeypatch):
    for name in ("JOBS", "METHODS", "LABELS", "DEVICE", "FORCE"):
        monkeypatch.setenv(name, "")
    assert environment.number("JOBS", 3, "how many") == 3
    assert environment.words("METHODS") == []
    assert environment.labels() is None and environment.device() == ""
    assert not environment.text("FORCE")


def test_lists_are_separated_by_commas_or_blanks(monkeypatch):
    monkeypatch.setenv("METHODS", "simclr, byol dino")
    monkeypatch.setenv("SEEDS", "0,1")
    assert environment.words("METHODS") == ["simclr", "byol", "dino"]
    assert environment.words("SEEDS") == ["0", "1"]


@pytest.mark.parametrize("name", ["DEVICE", "PRECISION"])
def test_a_choice_lists_what_there_is(monkeypatch, name):
    monkeypatch.setenv(name, "best")
    with pytest.raises(ValueError, match=f"{name}=best: choose one of .*, or leave it unset"):
        getattr(environment, name.lower())()


def test_a_printed_command_takes_the_set_variables_along(monkeypatch):
    for name in environment.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEEDS", "0 1")
    monkeypatch.setenv("PROFILE", "mini")
    assert environment.as_arguments() == "PROFILE=mini SEEDS='0 1'"


def test_handed_down_variables_may_leave_the_users_alone(monkeypatch):
    monkeypatch.setenv("ONE", "user")
    monkeypatch.delenv("TWO", raising=False)
    environment.hand_down({"ONE": "ours", "TWO": "ours"}, keep=True)
    assert (environment.text("ONE"), environment.text("TWO")) == ("user", "ours")
    environment.hand_down({"ONE": "ours"})
    assert environment.text("ONE") == "ours"


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_precision_can_be_that_of_another_machine(monkeypatch, precision):
    monkeypatch.setenv("DEVICE", "cpu")
    monkeypatch.setenv("PRECISION", precision)
    assert torch_device.precision() == precision


def test_a_processor_refuses_the_precision_of_gpus(monkeypatch):
    monkeypatch.setenv("DEVICE", "cpu")
    monkeypatch.setenv("PRECISION", "16-mixed")
    with pytest.raises(ValueError, match="needs a GPU"):
        torch_device.precision()


@pytest.mark.parametrize(
    "capabilities, expected", [({"amx_bf16": True}, "bf16-mixed"), ({}, "32-true")]
)
def test_without_a_choice_the_machine_decides(monkeypatch, capabilities, expected):
    monkeypatch.setenv("DEVICE", "cpu")
    monkeypatch.delenv("PRECISION", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert torch_device.precision() == expected


def test_gpus_are_those_that_cuda_may_see(monkeypatch):
    monkeypatch.delenv("DEVICE", raising=False)
    monkeypatch.setattr(hardware.shutil, "which", lambda command: "/usr/bin/nvidia-smi")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert hardware.gpus() == ["2", "5"]
    for value, expected in (("-1", []), ("", []), ("0,-1,2", ["0"])):  # as CUDA reads it
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert hardware.gpus() == expected
    monkeypatch.setenv("DEVICE", "cpu")
    assert hardware.gpus() == []


LOCKS = ("requirements.txt", "environment.yml", "pyproject.toml")


def text(name: str) -> str:
    return (paths.ROOT / name).read_text()


def project() -> dict:
    return tomllib.loads(text("pyproject.toml"))


def pins() -> dict[str, set[str]]:
    """Package -> versions in the lock; several where the Python version decides."""
    found: dict[str, set[str]] = {}
    for line in text("requirements.txt").splitlines():
        if line and not line.lstrip().startswith("#"):
            match = re.fullmatch(r"([a-z0-9-]+)==([\w.]+)(?: ; .+)?", line)
            assert match, f"not a pin: {line}"
            found.setdefault(match[1], set()).add(match[2])
    return found


def test_every_direct_dependency_is_pinned():
    named = {
        re.match(r"[A-Za-z0-9_.-]+", d)[0].lower() for d in project()["project"]["dependencies"]
    }
    assert named <= set(pins())


def test_versions_differ_only_where_markers_say_so():
    several = {name for name, versions in pins().items() if len(versions) > 1}
    for line in text("requirements.txt").splitlines():
        if line.split("==")[0] in several:
            assert "python_full_version" in line or "platform" in line, line


def test_conda_installs_the_same_pins_and_the_library():
    environment = yaml.safe_load(text("environment.yml"))
    (pip,) = (part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    assert pip == ["-r requirements.txt", "-e ."]
    conda = [part for part in environment["dependencies"] if isinstance(part, str)]
    assert [part.split("=")[0] for part in conda] == [
        "python",
        "pip",
    ]  # everything else is pinned by the lock
    python = tuple(int(part) for part in conda[0].split("=")[1].split("."))
    lowest = project()["project"]["requires-python"].removeprefix(">=")
    assert python >= tuple(int(part) for part in lowest.split("."))


@pytest.mark.parametrize("name", LOCKS)
def test_no_index_and_no_machine_path(name):
    assert not re.search(r"https?://|file:|index-url|find-links|(?<![\w.])/[a-z]+/", text(name))


def test_the_lock_names_the_command_that_renews_it():
    assert "make lock" in text("requirements.txt").splitlines()[1]


def test_the_makefile_has_a_target_for_every_artefact():
    listed = re.search(r"^ARTEFACTS := (.+)$", text("Makefile"), re.MULTILINE)[1].split()
    assert listed == list(artefacts.ARTEFACTS)


@pytest.mark.parametrize(
    ("given", "unknown"),
    [
        (["profile=own"], "profile"),
        (["PROFIL=own", "SEEDS=1"], "PROFIL"),
        (["PROFILE=smoke", "ARGS=-p a 1", "SBATCH_ACCOUNT=lab", "PYTHON=python"], ""),
    ],
)
def test_a_variable_that_nothing_reads_is_refused(given, unknown):
    words = ["make", "--dry-run", "table1", *given]
    done = subprocess.run(words, cwd=paths.ROOT, capture_output=True, text=True)
    assert (done.returncode == 2) == bool(unknown)
    assert (f"unknown variable {unknown}: `make help` lists" in done.stderr) == bool(unknown)


def test_help_lists_every_target():
    makefile = text("Makefile")
    targets = re.search(r"^TARGETS := help (.+)$", makefile, re.MULTILINE)[1].split()
    help_text = re.search(r"^define HELP\n(.+?)^endef", makefile, re.MULTILINE | re.DOTALL)[1]
    listed = set(re.findall(r"^  make (\S+)", help_text, re.MULTILINE))
    assert listed == set(targets) - {"$(ARTEFACTS)"} | {"fig2"}


def test_help_lists_every_variable_that_a_printed_command_takes_along():
    help_text = re.search(r"^define HELP\n(.+?)^endef", text("Makefile"), re.M | re.DOTALL)[1]
    assert all(re.search(rf"\b{name}=", help_text) for name in environment.VARIABLES)


@pytest.mark.parametrize("user, allowed", [("0", True), ("1000", False)])
def test_jupyterlab_starts_for_root_too(tmp_path, monkeypatch, user, allowed):
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n", encoding="utf-8")
    (tmp_path / "id").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    words = ["make", "--dry-run", "lab", "PYTHON=python"]
    done = subprocess.run(words, cwd=paths.ROOT, capture_output=True, text=True, check=True)
    assert "exec python -m jupyter lab notebooks/walkthrough.ipynb" in done.stdout
    assert ("--allow-root" in done.stdout) == allowed
    # No question about news, and errors in view.
    (config,), (startup,) = (
        re.findall(rf'{name}="([^"$]*)', done.stdout)
        for name in ("JUPYTER_CONFIG_PATH", "PYTHONSTARTUP")
    )
    assert os.path.isfile(f"{config}/labconfig/default_setting_overrides.json")
    assert os.path.isfile(startup)


def test_jupyterlab_takes_arguments_and_another_notebook():
    words = ["make", "--dry-run", "lab", "PYTHON=python", "NB=table1", "ARGS=--no-browser --port 9"]
    done = subprocess.run(words, cwd=paths.ROOT, capture_output=True, text=True, check=True)
    assert "python -m jupyter lab notebooks/table1.ipynb " in done.stdout
    assert done.stdout.rstrip().endswith("--no-browser --port 9")


def test_the_package_takes_its_profiles_and_templates_along():
    assert project()["tool"]["setuptools"]["package-data"] == {
        "lib.study": ["profiles/*.toml"],
        "lib.publish": ["templates/*"],
    }
