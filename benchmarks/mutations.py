"""Would the tests notice? Facts of the protocol (mutations.toml), each broken in a copy of the
repository, and the tests that fail.

    make mutations        (10 core-minutes)

The exit status is 1 where a break passes every test, only makes the code crash, or no longer fits
the source.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lib.system import hardware, paths


@dataclass(frozen=True)
class Mutation:
    """In `file`, `old` becomes `new`; the tests that pytest's arguments `noticed` choose should
    fail."""

    file: str
    fact: str
    old: str
    new: str
    noticed: str

    @property
    def tests(self) -> tuple[str, str]:
        """The file of the tests, and the keyword that chooses among them."""
        file, _, keyword = shlex.split(self.noticed)
        return file, keyword

    def fits(self, source: str) -> list[tuple[int, int]]:
        """Where `source` holds `old`, however its lines are broken."""
        words = re.findall(r"\w+|[^\w\s]", self.old)
        return [m.span() for m in re.finditer(r"\s*".join(map(re.escape, words)), source)]


def mutations() -> list[Mutation]:
    """Those of mutations.toml."""
    files = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return [Mutation(file, **row) for file, rows in files.items() for row in rows]


def copied(folder: str) -> Path:
    """The repository's sources and tests, as they are now, in `folder`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    command += ["lib", "tests", "pyproject.toml"]
    listed = subprocess.run(command, cwd=paths.ROOT, capture_output=True, check=True, text=True)
    for name in listed.stdout.split("\0"):
        if name and (paths.ROOT / name).is_file():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths.ROOT / name, Path(folder) / name)
    return Path(folder)


def tested(root: Path, tests: str, keyword: str) -> tuple[int, str]:
    """Exit status of pytest on the copy at `root`, up to its first failure, and its output."""
    # The copy's lib goes before the installed one. Two edits in a second would not renew bytecode.
    environment = {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "500"}
    pytest = ["-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider", tests, "-k", keyword]
    done = subprocess.run(
        [sys.executable, *pytest],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def unbroken(tests: str) -> str:
    """Output of a file's tests that judge mutations, where they fail without any; empty where they
    pass."""
    keywords = sorted({m.tests[1] for m in mutations() if m.tests[0] == tests})
    with tempfile.TemporaryDirectory() as folder:
        status, output = tested(copied(folder), tests, " or ".join(keywords))
    return output if status else ""


def tried(mutation: Mutation) -> str:
    """What noticed the mutation, or in capitals why it counts as not noticed."""
    with tempfile.TemporaryDirectory() as folder:
        root = copied(folder)
        path = root / mutation.file
        source = path.read_text(encoding="utf-8")
        places = mutation.fits(source)
        if len(places) != 1:
            where = f"{mutation.file} holds {mutation.old!r} {len(places)} times"
            return f"NOT TRIED: {where}, expected once"
        ((start, end),) = places
        path.write_text(source[:start] + mutation.new + source[end:], encoding="utf-8")
        status, output = tested(root, *mutation.tests)
    failure = re.search(r"^FAILED (.+?) - (.*)$", output, re.MULTILINE)
    if status == 0:
        return "NOT CAUGHT"
    # A crash of the code as edited proves nothing: the failure must be of an assertion.
    judged = failure and re.match(r"assert|AssertionError|Failed: DID NOT RAISE", failure[2])
    if status != 1 or not judged:
        return f"CRASHED: {failure[2] if failure else output.strip()[-200:]}"
    return f"caught by {failure[1].removeprefix('tests/')}"


def main() -> int:
    every = mutations()
    with ThreadPoolExecutor(hardware.cores()) as pool:
        files = sorted({mutation.tests[0] for mutation in every})
        failures = [output for output in pool.map(unbroken, files) if output]
        if failures:
            print("These tests fail before anything is broken:", *failures, sep="\n")
            return 1
        print("| fact | broken in | by | noticed |\n| --- | --- | --- | --- |")
        missed = 0
        for m, verdict in zip(every, pool.map(tried, every), strict=True):
            change = " ".join(f"`{m.old}` → `{m.new}`".split())
            print(f"| {m.fact} | {m.file} | {change} | {verdict} |", flush=True)
            missed += not verdict.startswith("caught")
    print(f"\n{len(every) - missed} of {len(every)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
