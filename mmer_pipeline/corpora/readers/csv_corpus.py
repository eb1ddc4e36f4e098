"""Any corpus in the form of a manifest: `manifest.csv`, with the recordings below its folder."""

import unicodedata
from dataclasses import replace
from pathlib import Path

from mmer_pipeline.corpora.labels import IDENTITY
from mmer_pipeline.corpora.readers.reader_interface import Reading
from mmer_pipeline.corpora.utterances import COLUMNS, read_utterances
from mmer_pipeline.errors import UserError
from mmer_pipeline.paths import MANIFEST_NAME


def read_csv(root: Path) -> Reading:
    """Read `root/manifest.csv`, or `root` itself if it is a CSV file; its folder is the audio root.

    A recording is found even if the CSV spells its name in another Unicode form than the disk (macOS decomposes
    accents, NFD); the utterance gets the name on disk.

    Raises:
        UserError: there is no such file, or one of its rows is wrong; the message names the line.
    """
    source = root / MANIFEST_NAME if root.is_dir() else root
    if not source.is_file():
        raise UserError(
            f"There is no {MANIFEST_NAME} in {root}. Expected a CSV file with the columns {', '.join(COLUMNS)}; "
            "--root may also be such a file."
        )
    listings: dict[Path, dict[str, str]] = {}
    utterances = (replace(row, audio=_on_disk(source.parent, row.audio, listings)) for row in read_utterances(source))
    return Reading(source.parent, source, tuple(utterances), IDENTITY)


def _on_disk(root: Path, audio: str, listings: dict[Path, dict[str, str]]) -> str:
    """The path in the Unicode form that the disk uses; unchanged if there is no such file.

    `listings` caches the contents of folders: composed name → name on disk.
    """
    if audio.isascii() or (root / audio).exists():
        return audio
    found = root
    for part in Path(audio).parts:
        if found not in listings:
            listings[found] = {_composed(path.name): path.name for path in found.iterdir()} if found.is_dir() else {}
        name = listings[found].get(_composed(part))
        if name is None:
            return audio
        found /= name
    return found.relative_to(root).as_posix()


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
