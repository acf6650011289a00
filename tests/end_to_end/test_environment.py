"""pyproject.toml, requirements.txt and environment.yml say the same, and none names a package
index."""

import re
import tomllib

import pytest
import yaml

from lib.study import artefacts
from lib.system import environment as environment_module
from lib.system import paths

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


def test_help_lists_every_target():
    makefile = text("Makefile")
    targets = re.search(r"^\.PHONY: help (.+)$", makefile, re.MULTILINE)[1].split()
    help_text = re.search(r"^define HELP\n(.+?)^endef", makefile, re.MULTILINE | re.DOTALL)[1]
    listed = set(re.findall(r"^  make (\S+)", help_text, re.MULTILINE))
    assert listed == set(targets) - {"$(ARTEFACTS)"} | {"fig2"}


def test_help_lists_every_variable_that_a_printed_command_takes_along():
    help_text = re.search(r"^define HELP\n(.+?)^endef", text("Makefile"), re.M | re.DOTALL)[1]
    assert all(re.search(rf"\b{name}=", help_text) for name in environment_module.VARIABLES)


def test_the_package_takes_its_profiles_and_templates_along():
    assert project()["tool"]["setuptools"]["package-data"] == {
        "lib.study": ["profiles/*.toml"],
        "lib.publish": ["templates/*"],
    }
