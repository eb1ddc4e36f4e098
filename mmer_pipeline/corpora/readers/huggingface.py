"""A corpus for the Hugging Face library `datasets`: an audiofolder with metadata, or Parquet files with recordings.

Documentation of `datasets`: "Create an audio dataset". The metadata are `metadata.csv`, `metadata.jsonl` or
`metadata.parquet` in the folder or in the folder of each split, with a column `file_name`. Splits become the column
`part` (train, dev, test). The package `datasets` is not needed.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmer_pipeline.corpora.readers.folder_walk import contents
from mmer_pipeline.corpora.readers.json_objects import json_objects
from mmer_pipeline.corpora.readers.parquet_rows import parquet_rows
from mmer_pipeline.corpora.readers.reader_interface import ReaderOptions, Reading
from mmer_pipeline.corpora.table_utterances import read_utterances_of
from mmer_pipeline.corpora.tables import Row, Table, read_table, refuse_faults
from mmer_pipeline.errors import UserError

METADATA = "metadata"
FILE_NAME = "file_name"
PART = "part"
PARTS = {"train": "train", "training": "train", "test": "test", "dev": "dev"} | dict.fromkeys(
    ("validation", "valid", "val"), "dev"
)


def read_huggingface(root: Path, options: ReaderOptions) -> Reading:
    """Read an audiofolder or Parquet files; embedded recordings are unpacked to `options.unpack_to`.

    Raises:
        UserError: there are no metadata, they cannot be read, or see `read_utterances_of`.
    """
    depths = ("", "*/", "*/*/")
    found = [path for depth in depths for path in root.glob(f"{depth}{METADATA}.*")] if root.is_dir() else []
    metadata = sorted(path for path in found if path.suffix in (".csv", ".jsonl", ".parquet"))
    packed = [] if metadata or not root.is_dir() else sorted({p for d in depths for p in root.glob(f"{d}*.parquet")})
    if root.suffix == ".parquet":
        packed = [root]
    if not (metadata or packed):
        raise UserError(
            f"{root} is not a corpus of the library datasets: there is no {METADATA}.csv, {METADATA}.jsonl or Parquet "
            f"file. Found: {contents(root)}. For a folder per class, use `mmer-pipe prepare folders`."
        )
    rows: list[Row] = []
    faults: list[str] = []
    for path in metadata:
        more, faulty = _described(path, root)
        rows += more
        faults += faulty
    if not (rows or packed):
        refuse_faults(root, faults)
    for path in packed:
        part = PARTS.get(path.stem.partition("-")[0], PARTS.get(path.parent.name, ""))
        below = path.relative_to(root) if root.is_dir() else Path(path.name)
        unpacked = parquet_rows(path, options.unpack_to, below.with_suffix("").as_posix())
        rows += [
            Row(f"{below.as_posix()}, row {number}", {**cells, PART: part})
            for number, cells in enumerate(unpacked, start=1)
        ]
    if len({row.cells[PART] for row in rows}) < 2:
        rows = [Row(row.place, {name: cell for name, cell in row.cells.items() if name != PART}) for row in rows]
    columns = tuple(dict.fromkeys(name for row in rows for name in row.cells))
    notes: tuple[str, ...] = ()
    audio = root
    if packed and options.unpack_to is not None and options.unpack_to.is_dir():
        audio = options.unpack_to
        notes = (f"recordings were unpacked to {audio}",)
    table = Table(root, columns, tuple(rows), notes, tuple(faults))
    given = {"audio": FILE_NAME} if FILE_NAME in columns else {}
    return read_utterances_of(table, audio, replace(options, columns={**given, **options.columns}))


def _described(path: Path, root: Path) -> tuple[list[Row], list[str]]:
    """The rows of a file of metadata, with paths relative to the root, and the faults of other rows."""
    folder = path.parent.relative_to(root)
    part = next((PARTS[name] for name in folder.parts if name in PARTS), "")
    place = (folder / path.name).as_posix()
    found, faults = _metadata_rows(path)
    rows = []
    for row in found:
        cells = dict(row.cells)
        if cells.get(FILE_NAME):
            cells[FILE_NAME] = (folder / cells[FILE_NAME]).as_posix()
        rows.append(Row(f"{place}, {row.place}", {**cells, PART: part}))
    return rows, [f"{place}, {fault}" for fault in faults]


def _metadata_rows(path: Path) -> tuple[Sequence[Row], Sequence[str]]:
    if path.suffix == ".csv":
        table = read_table(path)
        return table.rows, table.faults
    if path.suffix == ".parquet":
        return [Row(f"row {number}", cells) for number, cells in enumerate(parquet_rows(path), start=1)], ()
    return [
        Row(f"line {number}", {key: "" if value is None else str(value) for key, value in entry.items()})
        for number, entry in json_objects(path)
    ], ()
