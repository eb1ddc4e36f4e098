"""Corpus readers: one module per corpus, each from a directory to a `Reading`. No reader decodes audio."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from mmer_pipeline.corpora.readers.crema_d import read_crema_d
from mmer_pipeline.corpora.readers.csv_corpus import read_csv
from mmer_pipeline.corpora.readers.emo_db import read_emo_db
from mmer_pipeline.corpora.readers.esd import read_esd
from mmer_pipeline.corpora.readers.iemocap import read_iemocap
from mmer_pipeline.corpora.readers.meld import read_meld
from mmer_pipeline.corpora.readers.ravdess import read_ravdess
from mmer_pipeline.corpora.readers.reader_interface import Reading
from mmer_pipeline.errors import UserError

__all__ = ["READERS", "Reading", "read_corpus"]

READERS: Mapping[str, Callable[[Path], Reading]] = {
    "iemocap": read_iemocap,
    "ravdess": read_ravdess,
    "crema-d": read_crema_d,
    "emo-db": read_emo_db,
    "meld": read_meld,
    "esd": read_esd,
    "esd-en": partial(read_esd, language="en"),
    "esd-zh": partial(read_esd, language="zh"),
    "csv": read_csv,
}


def read_corpus(name: str, root: Path) -> Reading:
    """Read the corpus at `root` with the reader of that name.

    Raises:
        UserError: there is no such reader or directory, or the directory does not have the corpus's layout.
    """
    if name not in READERS:
        raise UserError(f"There is no corpus reader {name!r}. Expected one of {', '.join(READERS)}.")
    if not root.exists():
        raise UserError(f"{root} does not exist. Give the folder of the corpus with --root.")
    try:
        reading = READERS[name](root)
    except OSError as error:
        raise UserError(f"{error.filename or root} cannot be read: {error.strerror}.") from None
    if not reading.utterances:
        raise UserError(f"{root} contains no utterances of the corpus {name!r}. Check --root.")
    return reading
