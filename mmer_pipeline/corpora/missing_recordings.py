"""Refuse a corpus of which most recordings are missing: then the paths are wrong, not the recordings."""

from collections.abc import Iterable

from mmer_pipeline.corpora.readers.reader_interface import Reading
from mmer_pipeline.corpora.recording_paths import recordings_below
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError, first_few

LARGE_SHARE = 0.5
NAMED = 3  # paths and recordings that the message lists


def check_found(reading: Reading, candidates: Iterable[Utterance]) -> None:
    """Check that at most half of the recordings of the candidates are missing.

    A few missing ones are listed by `prepare`, which leaves their utterances out.

    Raises:
        UserError: more are missing; the message shows paths of both kinds.
    """
    wanted = dict.fromkeys(utterance.audio for utterance in candidates)
    missing = [audio for audio in wanted if audio in reading.not_found]
    if len(missing) <= LARGE_SHARE * len(wanted):
        return
    there, links = recordings_below(reading.root, follow_links=reading.follows_links)
    found = f"{len(there)} recordings, such as {first_few(there, NAMED)}" if there else "no recordings"
    raise UserError(
        f"{reading.source}: {len(missing)} of {len(wanted)} recordings are missing, such as "
        f"{first_few(missing, NAMED)}.\n"
        f"{reading.root.resolve()} contains {found}.\n"
        "Paths are relative to the folder of the table and may omit the extension: correct them, or move the table."
        + (
            f"\nNot followed without --follow-links, as they leave the folder: links {first_few(links)}."
            if links
            else ""
        )
    )
