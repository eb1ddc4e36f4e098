"""Columns by meaning: which column of a table holds the recording, the emotion, the speaker and so on.

A column is named by the user (`--column speaker=Sprecher`), has the manifest's name, or has one of the usual names
below. Names are compared without case, accents, spaces, punctuation and a unit such as "(s)".
"""

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mmer_pipeline.corpora.utterances import COLUMNS
from mmer_pipeline.csv_tables import LISTED
from mmer_pipeline.errors import NAMED, UserError, first_few

DURATION = "duration_seconds"  # in place of `end_seconds`
MEANINGS = (*COLUMNS, DURATION)
NEEDED = ("audio", "emotion", "speaker")

# Usual names in English, German, French, Spanish, Portuguese, Italian, Dutch, Polish and Turkish. Names that often mean
# something else are not here: "id", "name", "offset", "utterance", "sentiment".
USUAL_NAMES: Mapping[str, str] = {
    "utterance_id": "utterance_id utt_id uttid segment_id clip_id",
    "audio": "audio file filename filepath path wav wav_file wav_path audio_file audio_path audio_filename recording "
    "recording_file sound sound_file clip Datei Dateiname Dateipfad Pfad Audiodatei Aufnahme fichier nom_fichier "
    "chemin enregistrement archivo fichero ruta grabación arquivo caminho gravação percorso registrazione bestand "
    "bestandsnaam opname plik nagranie dosya kayıt",
    "start_seconds": "start_seconds start starts start_time start_sec begin begin_time from onset Anfang Beginn von "
    "Startzeit début inicio desde início inizio początek başlangıç",
    "end_seconds": "end_seconds end ends end_time end_sec stop stop_time to until Ende Endzeit bis fin hasta fim fine "
    "einde koniec bitiş",
    DURATION: "duration_seconds duration dur length Dauer Länge durée duración duração durata duur süre",
    "speaker": "speaker speaker_id speaker_name spk spk_id agent agent_id actor actor_id subject subject_id "
    "participant participant_id talker Sprecher Sprecherin Sprecher_ID Person locuteur orateur locutor hablante "
    "falante parlante spreker mówca konuşmacı",
    "session": "session session_id Sitzung séance sesión sessão sessione sessie sesja oturum",
    "dialogue": "dialogue dialogue_id dialog dialog_id conversation conversation_id call call_id scene scene_id "
    "Gespräch Anruf conversación diálogo dialogo conversazione gesprek rozmowa",
    "emotion": "emotion emotions emotion_label label labels emo feeling class category Gefühl Stimmung Klasse "
    "Kategorie émotion étiquette emoción emoção emozione emotie emocja duygu",
    "transcript": "transcript transcription text words sentence Transkript Transkription Wortlaut Satz texte phrase "
    "paroles texto frase transcripción testo trascrizione tekst metin",
}  # fmt: skip
_UNIT = re.compile(r"[(\[]\s*(?:s|sec|secs|seconds|sek|sekunden)\.?\s*[)\]]", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """The columns of a table by meaning."""

    of: Mapping[str, str]  # meaning → the table's column; only meanings that the table has

    def name(self, meaning: str) -> str:
        """The table's name of a column, for messages; its meaning if the table has no such column."""
        return self.of.get(meaning, meaning)

    def line(self) -> str:
        """The columns of other names as one line: "columns: audio ← file, speaker ← agent"; "" if there are none."""
        renamed = [f"{meaning} ← {column}" for meaning, column in self.of.items() if meaning != column]
        return f"columns: {', '.join(renamed)}" if renamed else ""


def match_columns(header: Sequence[str], given: Mapping[str, str], source: Path) -> Columns:
    """Find the columns of a table by meaning.

    `given` are the user's: meaning → column, or "" if the table has no column of that meaning. For the other meanings
    the manifest's own name is preferred, however it is capitalised, to the usual names. A given column can have a
    second meaning that is needed: a file may be both recording and dialogue.

    Raises:
        UserError: a given meaning or column does not exist, or several columns may have a meaning.
    """
    _check_given(header, given, source)
    free = [column for column in header if column not in given.values()]
    found: dict[str, str] = {}
    ambiguous: list[str] = []
    for meaning in MEANINGS:
        if meaning in given:
            found.update({meaning: given[meaning]} if given[meaning] else {})
            continue
        names = USUAL_NAMES[meaning]
        candidates = candidates_for(free, meaning, names)
        if not candidates and meaning in NEEDED:
            candidates = candidates_for(header, meaning, names)
        if len(candidates) > 1:
            options = " or ".join(f'--column {meaning}="{column}"' for column in candidates[:NAMED])
            ambiguous.append(f"  {meaning}: {options}, or --column {meaning}= for none")
        elif candidates:
            found[meaning] = candidates[0]
    if ambiguous:
        raise UserError(f"{source}: several columns may have the same meaning. Choose one:\n" + "\n".join(ambiguous))
    return Columns(found)


def parse_columns(assignments: Sequence[str]) -> dict[str, str]:
    """Read the values of `--column`: "speaker=Sprecher" → {"speaker": "Sprecher"}.

    Raises:
        UserError: one has another form, or a meaning is unknown or given twice.
    """
    given = parse_assignments("--column", assignments, "MEANING=COLUMN, such as speaker=Sprecher")
    for meaning, column in given.items():
        if meaning not in MEANINGS:
            raise UserError(
                f"--column {meaning}={column}: expected MEANING=COLUMN, such as speaker=Sprecher. "
                f"Meanings: {', '.join(MEANINGS)}."
            )
    return given


def parse_assignments(option: str, assignments: Sequence[str], expected: str) -> dict[str, str]:
    """Read the values of an option that names columns, each "meaning=column"; `expected` describes one in messages.

    Raises:
        UserError: one has another form, or a meaning is given twice.
    """
    given: dict[str, str] = {}
    for assignment in assignments:
        meaning, equals, column = (unicodedata.normalize("NFC", part).strip() for part in assignment.partition("="))
        if not (meaning and equals):
            raise UserError(f"{option} {assignment}: expected {expected}.")
        if meaning in given:
            raise UserError(f"{option} {meaning} is given twice: {given[meaning]} and {column}.")
        given[meaning] = column
    return given


def check_needed(columns: Columns, header: Sequence[str], source: Path, *, derived: Sequence[str] = ()) -> None:
    """Check that the needed columns were found, except those that are `derived` from others.

    Raises:
        UserError: some were not; the message says how to name them.
    """
    missing = [meaning for meaning in NEEDED if meaning not in columns.of and meaning not in derived]
    if not missing:
        return
    example = " ".join(f"--column {meaning}=COLUMN" for meaning in missing)
    pattern = ", or --speaker-pattern REGEX if file names contain the speaker" if "speaker" in missing else ""
    found = f" Recognised: {', '.join(f'{m} ← {c}' for m, c in columns.of.items())}." if columns.of else ""
    raise UserError(
        f"{source}: missing columns: {', '.join(missing)}. "
        f"The table has: {first_few(header, LISTED) or 'none'}.{found}\n"
        f"Say which they are with {example}{pattern}."
    )


def _check_given(header: Sequence[str], given: Mapping[str, str], source: Path) -> None:
    for meaning, column in given.items():
        if column and column not in header:
            close = difflib.get_close_matches(column, header, n=1)
            hint = f" The closest is {close[0]!r}." if close else ""
            raise UserError(
                f"{source} has no column {column!r} for --column {meaning}={column}.{hint} "
                f"Columns: {first_few(header, LISTED)}."
            )


def candidates_for(columns: Sequence[str], meaning: str, usual_names: str) -> list[str]:
    """Return the columns that may have a meaning: those named like the meaning, or else those with a usual name."""
    own = (_key(meaning), _key(meaning.removesuffix("_seconds")))
    usual = {_key(name) for name in usual_names.split()}
    return (
        [column for column in columns if column == meaning]
        or [column for column in columns if _key(column) in own]
        or [column for column in columns if _key(column) in usual]
    )


@lru_cache(maxsize=1 << 18)
def _key(name: str) -> str:
    """A column's name without case, accents, spaces, punctuation and unit."""
    letters = unicodedata.normalize("NFKD", _UNIT.sub("", name).casefold())
    return "".join(letter for letter in letters if letter.isalnum())
