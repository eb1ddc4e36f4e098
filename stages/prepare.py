"""`mmer-pipe prepare CORPUS --root DIR`: from a corpus on disk to a checked manifest.

Reads: the labels and transcripts of the corpus below `--root`, and the headers of its recordings. Compressed
recordings are read completely, since only that reveals damage.
Writes: the manifest (default `<cache>/manifest.csv`), one row per usable utterance, and beside it `manifest.json`
with the audio root, the corpus and the label map. Neither is rewritten if both already have the same content.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmer_pipeline.corpora import manifest as manifests
from mmer_pipeline.corpora.columns import MEANINGS, parse_columns
from mmer_pipeline.corpora.labels import BUILT_IN, IDENTITY, likely_misspellings
from mmer_pipeline.corpora.published_counts import Agreement, compare
from mmer_pipeline.corpora.readers import CORPORA, READERS, ReaderOptions, Reading, read_corpus
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet
from mmer_pipeline.errors import UserError
from mmer_pipeline.names import as_title
from mmer_pipeline.paths import unpacked_audio
from stages.setting_options import LeadingArgument, NumberRange
from stages.shared_options import (
    FILE,
    Common,
    check_title,
    common_options,
    given_options,
    last_written,
    say,
    suggest,
)

if TYPE_CHECKING:
    from mmer_pipeline.corpora.preparation import Preparation

RECORDED = (  # options that decide what the manifest contains and where it is
    *("root", "columns", "speaker_pattern", "name", "manifest", "label_map", "max_audio_seconds", "drop_untranscribed"),
    *("follow_links", "cache_dir", "config"),
)


@click.command(cls=LeadingArgument)
@click.argument("corpus", type=click.Choice(READERS), metavar="CORPUS")
@click.option(
    "--root",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the corpus, or the table for csv.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="MEANING=COLUMN",
    help=f"Column of your table with this meaning: {', '.join(MEANINGS)}. Repeatable.  [guessed from usual names]",
)
@click.option(
    "--speaker-pattern",
    metavar="REGEX",
    help="Regular expression that finds the speaker in the name of a recording, if no column has it.",
)
@click.option(
    "--name",
    metavar="NAME",
    callback=check_title,
    help="Name of the corpus in reports and model cards.  [CORPUS, or that of your folder]",
)
@click.option("--manifest", type=FILE, help="Manifest to write.  [<cache>/manifest.csv]")
@click.option(
    "--label-map",
    metavar="NAME|FILE",
    help=f"{', '.join((*BUILT_IN, IDENTITY))}, or a TOML file.  [depends on the corpus]",
)
@click.option("--strict", is_flag=True, help="Write nothing and fail if a problem excludes an utterance.")
@click.option(
    "--max-audio-seconds",
    type=NumberRange(min=0, min_open=True),
    help="Exclude longer utterances.  [60]",
)
@click.option(
    "--follow-links",
    is_flag=True,
    help="Read recordings that are links to files outside the audio root, such as a shared store.",
)
@click.option(
    "--drop-untranscribed",
    is_flag=True,
    help="Exclude utterances without a transcript, for systems that read words.",
)
@click.option("--keep-untranscribed", is_flag=True, hidden=True, expose_value=False)  # now the default
@common_options
def prepare(
    corpus: str,
    root: Path,
    columns: tuple[str, ...],
    speaker_pattern: str | None,
    name: str | None,
    manifest: Path | None,
    label_map: str | None,
    strict: bool,
    max_audio_seconds: float | None,
    follow_links: bool,
    drop_untranscribed: bool,
    common: Common,
) -> None:
    """Check a corpus and write its manifest.

    CORPUS is the layout below --root: iemocap, ravdess, crema-d, emo-db, meld, esd (esd-en or esd-zh for one
    language). Or it is a form that any corpus may have: csv (a table: CSV, TSV or .xlsx), folders (a folder per class),
    huggingface (an audiofolder, or Parquet), kaldi, lhotse, audformat.
    """
    from mmer_pipeline.corpora import preparation  # numpy and soundfile; `--help` does without them
    from mmer_pipeline.corpora.possible_folds import possible_folds
    from stages.progress import Work

    path = common.manifest(manifest)
    options = ReaderOptions(parse_columns(columns), speaker_pattern, unpacked_audio(path), follow_links)
    with _keeping(path):
        reading = _read(common, corpus, root, options)
    if path.resolve() == reading.source.resolve():
        raise UserError(f"{path}: refusing to overwrite the input. Give another --manifest or --cache-dir.")
    with _keeping(path), Work(common, "Checking", unit="recordings") as work:
        prepared = preparation.prepare(
            reading,
            preparation.choose_label_map(reading, label_map),
            max_audio_seconds=max_audio_seconds or preparation.MAX_AUDIO_SECONDS,
            drop_untranscribed=drop_untranscribed,
            progress=work.show,
        )
        _check_strictly(prepared, path, strict=strict)
    dropped = [u for u in reading.utterances if prepared.label_map.class_of(u.emotion) is None]
    title = name or _title(corpus, reading.name)
    agreement = compare(title, prepared.label_map, prepared.utterances, dropped)  # of another name, none is published
    changed = manifests.write_manifest(
        path, prepared.utterances, root=reading.root, corpus=title, label_map=prepared.label_map,
        command=shlex.join(["mmer-pipe", "prepare", corpus, *given_options(*RECORDED)]), follow_links=follow_links,
    )  # fmt: skip
    possible = possible_folds(manifests.read_manifest(path))
    about = {"corpus": title, "manifest": str(path), "changed": changed, **prepared.as_dict()}
    published = None if agreement is None else agreement.as_dict()
    found = {"notes": list(reading.notes), "published": published, "possible_folds": possible.as_dict()}
    common.result(about | found)
    _say_notes(common, (_unspellable(prepared), _case_variants(prepared), _misspellings(prepared, reading)))
    if common.tables:
        _print_summary(title, prepared, agreement)
        click.echo(f"{'wrote' if changed else 'unchanged:'} {path} ({len(prepared.utterances)} utterances)")
        click.echo("\n".join(possible.lines()))
    folds = possible.recommended
    suggest(common, "audit" if folds in ("session", None) else f"audit --folds {folds}", "manifest")


@contextmanager
def _keeping(manifest: Path) -> Iterator[None]:
    """Where preparation fails, say that other commands would still read the manifest of an earlier one, if there is."""
    try:
        yield
    except UserError as error:
        if not manifest.is_file():
            raise
        raise UserError(
            f"{error}\n{manifest} is unchanged, and other commands would read it: it was written "
            f"{last_written(manifest)}."
        ) from error


def _read(common: Common, corpus: str, root: Path, options: ReaderOptions) -> Reading:
    """Read a corpus and show the reader's notes."""
    reading = read_corpus(corpus, root, options)
    _say_notes(common, reading.notes)
    return reading


def _say_notes(common: Common, notes: Iterable[str | None]) -> None:
    """Show the notes that are not None."""
    for note in filter(None, notes):
        say(common, f"note: {note}")


def _check_strictly(prepared: "Preparation", path: Path, *, strict: bool) -> None:
    """Raise a `UserError` if a problem excludes an utterance and `--strict` is given."""
    if strict and prepared.excluded:
        raise UserError(
            f"--strict: {len(prepared.excluded)} utterances have problems, so {path} was not written.\n"
            + "\n".join(prepared.problem_lines())
        )


def _case_variants(prepared: "Preparation") -> str | None:
    """The note on classes whose names differ only in case, if there are any."""
    counts = prepared.class_counts
    folded = Counter(name.casefold() for name in counts)
    variants = [f"{name} ({count})" for name, count in counts.items() if folded[name.casefold()] > 1]
    if not variants:
        return None
    return f"classes that differ only in case: {', '.join(variants)}; merge them with a label map"


def _misspellings(prepared: "Preparation", reading: Reading) -> str | None:
    """The note on rare classes whose names are similar to another's, and where they are, if there are any."""
    counts = prepared.class_counts
    places: dict[str, list[str]] = {}
    for number, utterance in enumerate(reading.utterances):
        places.setdefault(prepared.label_map.class_of(utterance.emotion) or "", []).append(reading.place(number))
    pairs = [
        f"{rare} ({'; '.join(places[rare])}) of {other} ({counts[other]} utterances)"
        for rare, other in likely_misspellings(counts)
    ]
    if not pairs:
        return None
    return f"classes that may be misspellings: {', '.join(pairs)}; correct the labels, or merge them with a label map"


def _title(reader: str, name: str | None) -> str:
    """The name of a corpus: its own name, but never that of a published corpus with a reader."""
    if name is None:
        return reader
    return f"{name} ({reader})" if name.casefold() in CORPORA else as_title(name)


def _unspellable(prepared: "Preparation") -> str | None:
    """The note on letters that the default CTC alphabet lacks, if there are any."""
    alphabet = Alphabet(WAV2VEC2_ALPHABET)
    missing = Counter(letter for u in prepared.utterances for letter in sorted(set(alphabet.unspellable(u.transcript))))
    if not missing:
        return None
    letters = ", ".join(letter for letter, _ in missing.most_common(8)) + (" …" if len(missing) > 8 else "")
    return f"the default CTC alphabet lacks {letters}; train with --ctc-alphabet corpus to spell them"


def _print_summary(corpus: str, prepared: "Preparation", agreement: Agreement | None) -> None:
    """Print the table of sessions and classes, whether the corpus is complete, and what was excluded and why."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{corpus}, label map {prepared.label_map.name}", title_justify="left")
    table.add_column("session")
    for heading in (*prepared.class_counts, "utterances"):
        table.add_column(Text(heading), justify="right")
    for session, counts in prepared.session_counts.items():
        table.add_row(Text(session), *(str(count) for count in counts.values()), str(sum(counts.values())))
    table.add_section()
    table.add_row("all", *(str(count) for count in prepared.class_counts.values()), str(len(prepared.utterances)))
    Console().print(table)
    hours = sum(prepared.seconds) / 3600
    click.echo(f"{len(prepared.utterances)} utterances, {hours:.2f} hours, {len(prepared.speakers)} speakers")
    if agreement is not None:
        click.echo(agreement.line())
    if prepared.dropped:
        labels = ", ".join(f"{label} {count}" for label, count in prepared.dropped.items())
        click.echo(f"dropped by the label map: {sum(prepared.dropped.values())} utterances ({labels})")
    for line in prepared.problem_lines():
        click.echo(line)
