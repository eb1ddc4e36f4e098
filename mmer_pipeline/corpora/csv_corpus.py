"""Any corpus at all, written down as a manifest: `manifest.csv` and the recordings below its folder."""

from pathlib import Path

from mmer_pipeline.corpora.reading import Reading
from mmer_pipeline.errors import UserError
from mmer_pipeline.labels import IDENTITY
from mmer_pipeline.manifest import COLUMNS, read_rows
from mmer_pipeline.paths import MANIFEST_NAME


def read_csv(root: Path) -> Reading:
    """Read `root/manifest.csv`, or the CSV file that `root` itself is; its folder is the audio root.

    Raises:
        UserError: there is no such file, or a row of it is wrong; the message names the line.
    """
    source = root / MANIFEST_NAME if root.is_dir() else root
    if not source.is_file():
        raise UserError(
            f"No {MANIFEST_NAME} in {root}. Expected a CSV file with the columns {', '.join(COLUMNS)}; "
            "--root may also name such a file itself."
        )
    return Reading(source.parent, source, tuple(read_rows(source)), IDENTITY)
