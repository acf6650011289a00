"""Image files by content: a hash of each, remembered so that an unchanged file is read once."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lib.system import atomic, paths, progress

# Nanoseconds. A file that changed so shortly before it was hashed may change again and keep its
# times, which file systems count in steps; so its hash is not remembered.
SETTLED = 2 * 10**9
LOUD = 1e9  # bytes that take a while to read


def hashes(files: Sequence[Path | None]) -> list[str]:
    """The SHA-256 of each file's content, "" for one that is absent or cannot be read.

    A file counts as unchanged by its path, size, times and inode (data/contents.json).
    """
    memory = paths.DATA / "contents.json"
    known, states, now = _remembered(memory), [_state(file) for file in files], time.time_ns()
    found = {state[0]: known.get(state[0], "") for state in states if state}
    new = [state for state in states if state and not found[state[0]]]
    size = sum(size for _, _, size, _ in new)
    bar = progress.Images("reading images", len(new), size > LOUD)
    try:
        for key, file, _, _ in new:
            found[key] = _hash(file)
            bar.advance(1)
    finally:
        bar.close()
        settled = {s[0] for s in states if s and now - s[3] > SETTLED}
        _remember(memory, known, {k: v for k, v in found.items() if v and k in settled})
    return [found[state[0]] if state else "" for state in states]


def _state(file: Path | None) -> tuple[str, Path, int, int] | None:
    """What a file's hash is remembered by, the file, its bytes, and when it last changed; None
    where it is absent."""
    with suppress(OSError):
        if file is not None:
            place, stat = os.path.abspath(file), file.stat()
            facts = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
            return "|".join(map(str, (place, *facts))), file, stat.st_size, stat.st_ctime_ns
    return None


def _hash(file: Path) -> str:
    with suppress(OSError), open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
    return ""


def _remembered(memory: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):  # absent, cut short or damaged
        known = json.loads(memory.read_text(encoding="utf-8"))
        return known if isinstance(known, dict) else {}
    return {}


def _remember(memory: Path, known: dict[str, str], found: dict[str, str]) -> None:
    """Write the hashes of these files, if there are others than before."""
    if found != known:
        memory.parent.mkdir(parents=True, exist_ok=True)
        atomic.put_text(memory, json.dumps(found))
