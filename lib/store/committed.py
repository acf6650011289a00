"""The committed reference of a profile: all its runs in four tables. Does not import torch.

    runs.parquet       a row per run: its record, that of its measurement, its history's columns
    histories.parquet  a row per run and epoch
    scores.parquet     a row per run, image, evaluation, view and probe
    measured.parquet   a row per run and validation image, a column per detector and setting

Each run is a row group of the last two, so that one run is read without the others. What is read
often is kept in memory as long as its file does not change.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lib.system.errors import DataError

if TYPE_CHECKING:
    from lib.store.stored import Stored

NAMES = pa.dictionary(pa.int32(), pa.large_string())


def _unchanged(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """`read(path)`, remembered until the file at `path` is written again."""
    remembered = lru_cache(maxsize=16)(lambda path, written, size: read(path))
    return lambda path: remembered(path, path.stat().st_mtime_ns, path.stat().st_size)


@_unchanged
def _runs(path: Path) -> dict[str, dict]:
    return {row.pop("run"): row for row in pq.read_table(path).to_pylist()}


@_unchanged
def _histories(path: Path) -> pa.Table:
    return pq.read_table(path)


@_unchanged
def _groups(path: Path) -> tuple[pq.ParquetFile, dict[str, int]]:
    """An open table and the row group of each run."""
    file = pq.ParquetFile(path)
    groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
    return file, {group.column(0).statistics.min: i for i, group in enumerate(groups)}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises DataError, which says how to restore it, where the table at `path` is damaged."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, AttributeError, ValueError) as error:
        what = f"{path} is damaged ({str(error).splitlines()[0].rstrip('.')})"
        raise DataError(f"{what}: `git checkout -- {path}` restores it.") from None


@lru_cache
def _warn(sentence: str) -> None:
    print(f"warning: {sentence} Until then its runs count as missing.", file=sys.stderr, flush=True)


def record(folder: Path, run_id: str, name: str = "record") -> dict | None:
    """The run's `record`, or the record of what was `measured` on it; None where there is none, or,
    after a warning, where the table is damaged."""
    path = folder / "runs.parquet"
    if not path.exists():
        return None
    try:
        with reading(path):
            text = _runs(path).get(run_id, {}).get(name)
            return None if text is None else json.loads(text)
    except DataError as error:
        _warn(str(error))
        return None


def history(folder: Path, run_id: str) -> pd.DataFrame:
    """A row per epoch of the run, with the columns that it wrote. Raises DataError where the table
    is damaged."""
    path = folder / "histories.parquet"
    with reading(path):
        table = _histories(path)
        rows = table.filter(pc.equal(table["run"], run_id))
        return rows.select(_runs(folder / "runs.parquet")[run_id]["history"]).to_pandas()


def scores(path: Path, run_id: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The run's rows of scores.parquet or measured.parquet, as it stored them; raises as `history`
    does."""
    with reading(path):
        file, groups = _groups(path)
        columns = columns or [name for name in file.schema_arrow.names if name != "run"]
        return file.read_row_group(groups[run_id], columns=columns)


def write(folder: Path, runs: Sequence["Stored"]) -> None:
    """The four tables of these runs, of one profile, into the folder."""
    columns = {
        "run": [s.run.id for s in runs],
        "record": [json.dumps(s.record) for s in runs],
        "measured": [s.measured and json.dumps(s.measured) for s in runs],
        "history": [list(s.history) for s in runs],
    }
    pq.write_table(pa.table(columns), folder / "runs.parquet", compression="zstd")
    histories = (s.history.assign(run=s.run.id) for s in runs)
    tables = [pa.Table.from_pandas(history, preserve_index=False) for history in histories]
    joined = pa.concat_tables(tables, promote_options="default")
    pq.write_table(joined, folder / "histories.parquet", compression="zstd")
    _write_groups(folder / "scores.parquet", {s.run.id: kept_scores(s) for s in runs})
    if measured := {s.run.id: s.detector_scores() for s in runs if s.measured}:
        _write_groups(folder / "measured.parquet", measured)


def kept_scores(stored: "Stored") -> pd.DataFrame:
    """The run's scores without unread scores of training images: all of an ablation's, the online
    probe's of the grid."""
    kept = "split == 'val'" + " or probe == 'converged'" * (stored.run.study == "grid")
    rows = stored.scores.query(kept)
    return rows.assign(Filename=rows["Filename"].cat.remove_unused_categories())


def _write_groups(path: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Write a row group for each run; names as dictionaries, logits byte by byte are smallest."""
    types = {"run": NAMES}
    for table in tables.values():
        for field in pa.Schema.from_pandas(table, preserve_index=False):
            types[field.name] = NAMES if pa.types.is_dictionary(field.type) else field.type
    schema = pa.schema(types)
    halves = [name for name in types if types[name] == pa.float16()]
    how = {"use_dictionary": [n for n in types if n not in halves], "use_byte_stream_split": halves}
    how |= {"compression": "zstd", "compression_level": 19}  # a tenth smaller, and read as fast
    with pq.ParquetWriter(path, schema, **how) as writer:
        for run_id, table in tables.items():
            frame = table.reindex(columns=types).assign(run=run_id)
            writer.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False))
