"""Corpus readers: a module per corpus or form of one, each from a directory to a `Reading`. No reader decodes audio."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from mmer_pipeline.corpora.readers.audformat import read_audformat
from mmer_pipeline.corpora.readers.class_folders import read_folders
from mmer_pipeline.corpora.readers.crema_d import read_crema_d
from mmer_pipeline.corpora.readers.csv_corpus import read_csv
from mmer_pipeline.corpora.readers.emo_db import read_emo_db
from mmer_pipeline.corpora.readers.esd import read_esd
from mmer_pipeline.corpora.readers.huggingface import read_huggingface
from mmer_pipeline.corpora.readers.iemocap import read_iemocap
from mmer_pipeline.corpora.readers.kaldi import read_kaldi
from mmer_pipeline.corpora.readers.lhotse import read_lhotse
from mmer_pipeline.corpora.readers.meld import read_meld
from mmer_pipeline.corpora.readers.ravdess import read_ravdess
from mmer_pipeline.corpora.readers.reader_interface import ReaderOptions, Reading
from mmer_pipeline.corpora.tables import refuse_faults
from mmer_pipeline.corpora.utterances import COLUMNS, NAMES, SHOWN, name_fault
from mmer_pipeline.errors import UserError

__all__ = ["CORPORA", "FORMS", "READERS", "ReaderOptions", "Reading", "read_corpus"]

CORPORA: Mapping[str, Callable[[Path], Reading]] = {  # published ones
    "iemocap": read_iemocap,
    "ravdess": read_ravdess,
    "crema-d": read_crema_d,
    "emo-db": read_emo_db,
    "meld": read_meld,
    "esd": read_esd,
    "esd-en": partial(read_esd, language="en"),
    "esd-zh": partial(read_esd, language="zh"),
}
FORMS: Mapping[str, Callable[[Path, ReaderOptions], Reading]] = {  # in which any corpus may be
    "csv": read_csv,
    "folders": read_folders,
    "huggingface": read_huggingface,
    "kaldi": read_kaldi,
    "lhotse": read_lhotse,
    "audformat": read_audformat,
}
READERS = (*CORPORA, *FORMS)
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, or a byte of a file name that is not UTF-8


def read_corpus(name: str, root: Path, options: ReaderOptions | None = None) -> Reading:
    """Read the corpus at `root` with the reader of that name; only the `FORMS` have options.

    Raises:
        UserError: there is no such reader or directory, the directory does not have the corpus's layout, or a reader
            without options is given some.
    """
    if name not in READERS:
        raise UserError(f"There is no corpus reader {name!r}. Expected one of {', '.join(READERS)}.")
    if not root.exists():
        raise UserError(f"{root} does not exist. Give the folder of the corpus with --root.")
    options = options or ReaderOptions()
    if name not in FORMS and (options.columns or options.speaker_pattern):
        raise UserError(
            f"--column and --speaker-pattern are for the forms of your own corpus ({', '.join(FORMS)}); the columns of "
            f"{name} are known."
        )
    try:
        reading = FORMS[name](root, options) if name in FORMS else CORPORA[name](root)
    except OSError as error:
        path = str(error.filename or root)
        raise UserError(f"{path[:SHOWN]} cannot be read: {error.strerror or error}.") from None
    reading = replace(reading, follows_links=options.follow_links)
    _check_text(reading)
    if not reading.utterances:
        raise UserError(f"{root} contains no utterances of the corpus {name!r}. Check --root.")
    return reading


def _check_text(reading: Reading) -> None:
    """Check that names have no control characters, and that all text can be written as UTF-8.

    Raises:
        UserError: see `refuse_faults`.
    """
    faults = []
    for number, utterance in enumerate(reading.utterances):
        place = reading.places[number] if reading.places else f"utterance {utterance.utterance_id!r}"
        faults += [f"{place}, {name}: {fault}" for name in NAMES if (fault := name_fault(getattr(utterance, name)))]
        if utterance.audio != utterance.audio.strip() or "\r" in utterance.audio:
            faults.append(f"{place}: {utterance.audio!r} begins or ends with a space, or breaks a line; rename it")
        for name, cell in (*zip(COLUMNS, utterance.cells(), strict=True), *utterance.others):
            if not (name + cell).isascii() and (broken := _SURROGATE.search(name + cell)):
                faults.append(
                    f"{place}, {name!r}: {cell[:SHOWN]!r} cannot be written as UTF-8 because of {broken[0]!r}; rename "
                    "the file or correct the cell"
                )
    refuse_faults(reading.source, faults)
