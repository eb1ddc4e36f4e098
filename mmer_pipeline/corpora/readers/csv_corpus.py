"""Any corpus in the form of a table, with the recordings below its folder: CSV, TSV or a workbook.

`manifest.csv` with the columns of the manifest is such a table. `tables.py` says which forms are read, `columns.py` how
columns are recognised, `recording_paths.py` how recordings are found, and `table_utterances.py` what may be left out.
"""

from pathlib import Path

from mmer_pipeline.corpora.columns import NEEDED
from mmer_pipeline.corpora.readers.reader_interface import ReaderOptions, Reading
from mmer_pipeline.corpora.table_utterances import read_utterances_of
from mmer_pipeline.corpora.tables import SUFFIXES, read_table
from mmer_pipeline.errors import UserError
from mmer_pipeline.paths import MANIFEST_NAME


def read_csv(root: Path, options: ReaderOptions) -> Reading:
    """Read `root` if it is a table, else `root/manifest.csv`, else the only table in `root`.

    The table's folder is the audio root.

    Raises:
        UserError: there is no such file, see `tables.read_table` and `table_utterances.read_utterances_of`.
    """
    source = root / MANIFEST_NAME if root.is_dir() else root
    if not source.is_file():
        found = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] not in ".~")
        if len(found) != 1:
            names = ", ".join(path.name for path in found)
            there = f"Choose one of the tables there: {names}." if found else "There is no other table either."
            raise UserError(
                f"There is no {MANIFEST_NAME} in {root}. Expected it, or a table as --root, with a row per utterance "
                f"and at least the columns {', '.join(NEEDED)}. {there}"
            )
        source = found[0]
    return read_utterances_of(read_table(source), source.parent, options)
