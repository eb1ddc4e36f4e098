"""Small corpora with one file or one cell that is not as it should be."""

from pathlib import Path

import pytest
from faults.input_corpora import FORMS, RECORDINGS, ROWS, write_files

from mmer_pipeline.corpora.readers import ReaderOptions, Reading, read_corpus
from mmer_pipeline.errors import UserError


def lay_out(form: str, changes: dict[str, bytes] | None = None, rows: list[dict[str, str]] = ROWS) -> Path:
    """Write a small corpus in a form to `corpus`, with other files in place of some."""
    root = Path("corpus")
    write_files({**RECORDINGS, **FORMS[form][1](rows), **(changes or {})}, root)
    return root


def read(form: str, changes: dict[str, bytes] | None = None) -> Reading:
    """Read such a corpus."""
    root = lay_out(form, changes)
    return read_corpus(FORMS[form][0], root, ReaderOptions(unpack_to=Path("unpacked")))


def refused(form: str, changes: dict[str, bytes] | None = None) -> str:
    """What is said of such a corpus, which must be refused."""
    with pytest.raises(UserError) as caught:
        read(form, changes)
    assert len(str(caught.value)) < 20_000
    return str(caught.value)
