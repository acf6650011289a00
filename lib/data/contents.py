"""Image files by content: a hash of each, remembered so that an unchanged file is read once."""

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lib.system import atomic, paths, progress
from lib.system.errors import DataError

# Nanoseconds. A file that changed so shortly before it was hashed may change again and keep its
# times, which file systems count in steps; so its hash is not remembered.
SETTLED = 2 * 10**9
LOUD = 1e9  # bytes that take a while to read


def hashes(files: Sequence[Path | None]) -> list[str]:
    """The SHA-256 of each file's content, "" for one that is absent. A file counts as unchanged by
    its path, size, times and inode (data/contents.json). Raises DataError for one that is there and
    cannot be read."""
    memory, now = paths.DATA / "contents.json", time.time_ns()
    known, states = atomic.read_json(memory) or {}, [_state(file) for file in files]
    found = {key: known.get(key, "") for key, *_ in filter(None, states)}
    new = [state for state in states if state and not found[state[0]]]
    refused = []
    bar = progress.Images("reading images", len(new), sum(size for _, _, size, _ in new) > LOUD)
    try:
        for key, file, _, _ in new:
            try:
                with open(file, "rb") as content:
                    found[key] = hashlib.file_digest(content, "sha256").hexdigest()
            except OSError as error:
                refused.append(f"{file} cannot be read ({error.strerror})")
            bar.advance(1)
    finally:
        bar.close()
        settled = {key for key, _, _, changed in filter(None, states) if now - changed > SETTLED}
        kept = {key: value for key, value in found.items() if value and key in settled}
        if kept != known:
            memory.parent.mkdir(parents=True, exist_ok=True)
            atomic.put_json(memory, kept)
    if refused:
        first, more = refused[0], f" ({len(refused):,} such images)" * (len(refused) > 1)
        raise DataError(f"{first}{more}: check its permissions and the disk, or remove the row.")
    return [found[state[0]] if state else "" for state in states]


def _state(file: Path | None) -> tuple[str, Path, int, int] | None:
    """What a file's hash is remembered by, the file, its bytes, and when it last changed; None
    where it is absent."""
    if file is None:
        return None
    with suppress(OSError):
        stat = file.stat()
        facts = os.path.abspath(file), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
        return "|".join(map(str, facts)), file, stat.st_size, stat.st_ctime_ns
    return None
