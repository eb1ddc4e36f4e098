"""Mutated corpora in every form: refused, or read as the mutated value says, with the other rows as before."""

import os
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from openpyxl.utils.exceptions import IllegalCharacterError

from faults import input_corpora as corpora
from faults.input_corpora import FORMS, RECORDINGS, ROWS, TREES, Files
from faults.mutated_values import SECRET, TEXTS, mutated_bytes, mutated_line, replace_file
from mmer_pipeline.corpora.labels import identity_map
from mmer_pipeline.corpora.manifest import Manifest, read_manifest, write_manifest
from mmer_pipeline.corpora.preparation import prepare
from mmer_pipeline.corpora.readers import ReaderOptions, Reading, read_corpus
from mmer_pipeline.corpora.utterances import Utterance, leaves_root, name_fault
from mmer_pipeline.errors import UserError

LONGEST_MESSAGE = 30_000  # characters
COLUMNS = {  # of `ReaderOptions`, where a form needs them
    "jsonl": {"utterance_id": "utterance_id"},
    "kaldi": {},
}
MADE_IDS = ("audformat",)  # forms that have no ids


def run_value(random: Random, directory: Path) -> str:
    """Write one other value into a row; every other row must stay as it was."""
    form = random.choice(list(FORMS))
    field, value = random.choice(corpora.FIELDS), random.choice(TEXTS)
    number = random.randrange(len(ROWS))
    of_recording = field == "audio" and form in ("kaldi", "lhotse", "cuts")
    changed = [
        {**row, field: value} if n == number or (of_recording and row["audio"] == ROWS[number]["audio"]) else row
        for n, row in enumerate(ROWS)
    ]
    if form == "xlsx" and (value.startswith("=") or len(value) > 32_767):  # a formula; more than a cell takes
        value = "x"
        changed[number] = {**ROWS[number], field: value}
    try:
        files = FORMS[form][1](changed)
    except (IllegalCharacterError, UnicodeEncodeError):  # no writer of this form can write it
        return "refused"
    root = lay_out(files, directory)
    found = attempt(lambda: read(form, root))
    if found is None:
        return "refused"
    if form == "audformat" and field == "emotion" and not value.strip():  # left out, with a note
        assert len(found.utterances) == len(ROWS) - 1
        return "same"
    plain = not (form == "kaldi" and (value != value.strip() or any(sign.isspace() for sign in value) or not value))
    if plain:
        before, after = by_position(form), [facts(u) for u in found.utterances]
        assert len(after) == len(before), (form, field, value[:99])
        for n, (was, now) in enumerate(zip(before, after, strict=True)):
            mutated = changed[n] != ROWS[n]
            for name in corpora.FIELDS:
                if not (mutated and (name == field or (name == "end" and field in ("start", "end")))):
                    assert (now[name] or 0) == (was[name] or 0) or (name == "id" and form in MADE_IDS), (
                        form,
                        n,
                        name,
                        was,
                        now,
                    )
            if mutated:
                check_value(field, value, now, form)
    check_reading(found, root, directory)
    return "same"


def check_value(field: str, value: str, now: dict[str, Any], form: str) -> None:
    """Check that a row has the value that was written."""
    written = unicodedata.normalize("NFC", value).strip()
    if form == "xlsx":
        written = written.replace("\r\n", "\n").replace("\r", "\n")
        now = {key: cell.replace("\r", "\n") if isinstance(cell, str) else cell for key, cell in now.items()}
    if field in ("start", "end"):
        if written.replace(".", "", 1).isdecimal() and written.isascii() and field == "start":
            assert now[field] == round(float(written), 6) or now[field] == float(written), (form, written, now)
    elif field == "audio":
        plain = (value.replace("\r\n", "\n") if form == "xlsx" else value).strip()  # XML has one kind of line ends
        assert now[field] in (*RECORDINGS, plain, plain.replace("\\", "/"), Path(plain).as_posix()), now
    elif field == "id":
        assert now[field] == written or not written or form in MADE_IDS, (form, written, now)
    else:
        assert now[field] == written, (form, field, written[:99], str(now)[:300])


def run_line(random: Random, directory: Path) -> str:
    """Change letters of one line of a text form; the rows of the other lines must stay as they were."""
    form = random.choice(("csv", "tsv", "manifest", "kaldi", "cuts", "audiofolder", "jsonl", "audformat"))
    files = dict(FORMS[form][1](ROWS))
    name = random.choice([name for name in files if not name.endswith(("json", "yaml"))])
    lines = files[name].split(b"\n")[:-1]
    has_header = name.endswith(("csv", "tsv"))
    number = random.randrange(has_header, len(lines))
    lines[number] = mutated_line(lines[number], random)
    files[name] = b"\n".join(lines) + b"\n"
    root = lay_out(files, directory)
    found = attempt(lambda: read(form, root))
    if found is None:
        return "refused"
    was = {entry["id"]: entry for entry in by_position(form)}
    now = {entry["id"]: entry for entry in (facts(u) for u in found.utterances)}
    differing = [key for key, entry in was.items() if now.get(key) != entry]
    most = 2 if name == "wav.scp" else 1
    assert len(differing) <= most, (form, name, lines[number], differing)
    check_reading(found, root, directory)
    return "same"


def run_bytes(random: Random, directory: Path) -> str:
    """Change bytes of one file of a form, or put something else in its place."""
    form = random.choice(list(FORMS))
    files = dict(FORMS[form][1](ROWS))
    name = random.choice([*files, *files, *RECORDINGS])
    if random.random() < 0.75 and name in files:
        files[name] = mutated_bytes(files[name], random)
    root = lay_out(files, directory)
    if name in RECORDINGS or random.random() < 0.2:
        replace_file(root / name, directory / SECRET, random)
    return judged(form, root, directory)


def run_tree(random: Random, directory: Path) -> str:
    """Damage the tree of a published corpus: a file's bytes, its name, or its kind."""
    corpus = random.choice(list(TREES))
    root = directory / "corpus"
    root.mkdir()
    (directory / SECRET).write_bytes(corpora.sound(9))
    corpora.write_tree_of(corpus, root)
    for _ in range(random.choice((1, 1, 2))):
        paths = [path for path in sorted(root.rglob("*")) if not path.is_symlink()]
        if not paths:
            break
        texts = [path for path in paths if path.suffix in (".txt", ".csv")]
        path = random.choice(texts if texts and random.random() < 0.5 else paths)
        action = random.random()
        if action < 0.5 and path.is_file():
            path.write_bytes(mutated_bytes(path.read_bytes(), random))
        elif action < 0.75:
            replace_file(path, directory / SECRET, random)
        else:
            named = _name(path, random)
            target = Path(os.fsdecode(os.fsencode(path.parent) + b"/" + named))
            if not os.path.lexists(target):
                path.rename(target)
    return judged(corpus, root, directory)


def _name(path: Path, random: Random) -> bytes:
    """Another name for a file or a folder: any bytes that a file system takes."""
    names = [text.encode(errors="surrogatepass")[:200] for text in TEXTS]
    names = [name for name in names if name.strip(b".") and b"/" not in name and b"\0" not in name]
    stem, suffix = os.fsencode(path.stem), os.fsencode(path.suffix)
    return random.choice(
        (random.choice(names), b"caf\xe9" + suffix, stem.upper() + suffix, stem + b".flac", stem + b"\n" + suffix)
    )


def judged(form: str, root: Path, directory: Path) -> str:
    """Read a corpus of which nothing is known but that it must be sound if it is read."""
    found = attempt(lambda: read(form, root))
    if found is None:
        return "refused"
    check_reading(found, root, directory)
    return "same"


def lay_out(files: Files, directory: Path) -> Path:
    """Write the files of a form with the recordings, and a recording outside; return the root."""
    root = directory / "corpus"
    root.mkdir()
    corpora.write_files({**RECORDINGS, **files}, root)
    (directory / SECRET).write_bytes(corpora.sound(9))
    return root


def read(form: str, root: Path) -> Reading:
    """Read a corpus in a form; a manifest as a reading."""
    reader = FORMS[form][0] if form in FORMS else form
    if reader == "manifest":
        manifest = read_manifest(root / "manifest.csv")
        return Reading(manifest.root, manifest.path, manifest.utterances, "identity")
    options = ReaderOptions(COLUMNS.get(form, {}), None, root.parent / "unpacked")
    return read_corpus(reader, root, options)


def attempt(action: Callable[[], Any]) -> Any:
    """The result of an action; None if it refuses with one message of a sane length."""
    try:
        return action()
    except UserError as error:
        message = str(error)
    assert message.strip()
    assert len(message) < LONGEST_MESSAGE, (len(message), message[:300])
    return None


def facts(utterance: Utterance) -> dict[str, Any]:
    """The values that were read from a row."""
    values = (utterance.utterance_id, utterance.audio, utterance.start_seconds, utterance.end_seconds)
    return dict(zip(corpora.FIELDS, (*values, utterance.speaker, utterance.emotion, utterance.transcript), strict=True))


@cache
def by_position(form: str) -> list[dict[str, Any]]:
    """The values that are read from the unmutated corpus."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return [facts(u) for u in read(form, lay_out(FORMS[form][1](ROWS), Path(folder))).utterances]


def check_reading(reading: Reading, root: Path, directory: Path) -> None:
    """Check what holds of every corpus that is read, and that its manifest gives it back."""
    assert not (directory / "CANARY").exists()
    assert not Path("CANARY").exists()
    for utterance in reading.utterances:
        assert not leaves_root(utterance.audio), utterance
        start, end = utterance.start_seconds or 0.0, utterance.end_seconds
        assert 0 <= start < float("inf"), utterance
        assert end is None or start < end < float("inf"), utterance
        for name in ("utterance_id", "speaker", "session", "dialogue", "emotion"):
            assert name_fault(getattr(utterance, name)) is None, utterance
            assert getattr(utterance, name), (name, utterance)
    labels = {utterance.emotion for utterance in reading.utterances}
    prepared = attempt(lambda: prepare(reading, identity_map(labels)))
    if prepared is None:
        return
    assert len(prepared.utterances) + len(prepared.excluded) == len(reading.utterances)
    for line in prepared.problem_lines():
        assert len(line) < LONGEST_MESSAGE
    for utterance in prepared.utterances:
        assert Path(os.path.realpath(reading.root / utterance.audio)).is_relative_to(os.path.realpath(reading.root))
        assert SECRET not in os.path.realpath(reading.root / utterance.audio)
    path = directory / "manifest.csv"
    write_manifest(path, prepared.utterances, root=reading.root, corpus="own", label_map=prepared.label_map)
    again: Manifest = read_manifest(path)
    assert [as_written(u) for u in prepared.utterances] == [as_written(u) for u in again.utterances]
    assert [again.audio_path(u) for u in again.utterances]


def as_written(utterance: Utterance) -> list[str]:
    """The cells of an utterance as a manifest has them."""
    cells = [cell.replace("\r\n", "\n").replace("\r", "\n") for cell in utterance.cells()]
    return [cell if n == 1 else unicodedata.normalize("NFC", cell).strip() for n, cell in enumerate(cells)]
