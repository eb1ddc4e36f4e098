"""The manifest: one CSV row per utterance, and beside it the audio root, the corpus and the label map.

Every corpus enters the pipeline in this form.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.labels import LabelMap, identity_map
from mmer_pipeline.corpora.utterances import COLUMNS, Utterance, is_path, link_target, read_utterances
from mmer_pipeline.csv_tables import csv_text
from mmer_pipeline.errors import UserError


@dataclass(frozen=True)
class Manifest:
    """A corpus that was read and checked."""

    path: Path  # the CSV file
    root: Path  # the audio root
    corpus: str  # the reader that made it, or "csv"
    label_map: LabelMap
    utterances: tuple[Utterance, ...]
    command: str = ""  # that made it, as typed; "" if it was written by hand or by an earlier version
    follows_links: bool = False  # whether recordings may be links to files outside the audio root

    @property
    def digest(self) -> str:
        """Digest of the rows and the label map, 16 hex digits.

        The corpus's further columns do not change it.
        """
        digest = hashlib.blake2b(digest_size=8)
        for utterance in self.utterances:
            digest.update("\x1f".join(_csv_cells(utterance.cells())).encode() + b"\x1e")
        digest.update(repr(self.label_map.as_dict()).encode())
        return digest.hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, the corpus's further ones last."""
        return (*COLUMNS, *(name for name, _ in self.utterances[0].others))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the label map's order."""
        return tuple(self.label_map.classes)

    def audio_path(self, utterance: Utterance) -> Path:
        """The path of an utterance's recording.

        Raises:
            UserError: it is a link to a file outside the audio root, and such links are not followed.
        """
        path = self.root / utterance.audio
        if not self.follows_links and (target := link_target(self.root, utterance.audio)) is not None:
            raise UserError(
                f"{utterance.utterance_id}: its recording {path} is a link to {target}, outside the audio root. To "
                f"read such files, run {self.command_with('--follow-links')}; without that option, `mmer-pipe prepare` "
                "leaves the utterance out."
            )
        return path

    def command_with(self, option: str) -> str:
        """The command that makes the manifest with one more option, for messages."""
        return f"`{self.command} {option}`" if self.command else f"`mmer-pipe prepare` again with {option}"


def write_manifest(
    path: Path,
    utterances: Iterable[Utterance],
    *,
    root: Path,
    corpus: str,
    label_map: LabelMap,
    command: str = "",
    follow_links: bool = False,
) -> bool:
    """Write the CSV and, beside it, `manifest.json` with the audio root, the corpus, the label map and the command.

    Returns:
        Whether anything was written: False if both files already have this content.

    Raises:
        UserError: the name of `path` does not end in `.csv`, or the disk is full.
    """
    if path.suffix != ".csv":
        raise UserError(f"{path}: the name of a manifest must end in .csv, such as {path.with_suffix('.csv').name}.")
    facts: dict[str, Any] = {"corpus": corpus, "root": str(root.resolve()), "label_map": label_map.as_dict()}
    if command:
        facts["command"] = command
    if follow_links:
        facts["follow_links"] = True
    facts_path = paths.manifest_facts(path)
    utterances = list(utterances)
    others = utterances[0].others if utterances else ()
    header = [*COLUMNS, *(name for name, _ in others)]
    rows = csv_text(header, ([*u.cells(), *(cell for _, cell in u.others)] for u in utterances))
    if path.is_file() and path.read_bytes() == rows.encode() and _has_content(facts_path, facts):
        return False
    # Both files are complete before either is renamed. The rows come last: the facts are never read without them.
    with files.replacing(path) as temporary:
        temporary.write_text(rows, encoding="utf-8", newline="")
        files.write_json(facts_path, facts)
    return True


def _prepare_command(recorded: Any) -> str:
    """A recorded command, to be shown in messages; "" if it is not one call of `prepare`, as others' files may be."""
    try:
        words = shlex.split(recorded) if isinstance(recorded, str) else []
    except ValueError:
        return ""
    is_one_call = words[:2] == ["mmer-pipe", "prepare"] and recorded == shlex.join(words) and recorded.isprintable()
    return recorded if is_one_call else ""


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest, keeping the utterances whose label is in a class.

    Without a `manifest.json` beside it (a CSV written by hand), the audio root is the folder of the CSV and every
    emotion is a class.

    Raises:
        UserError: see `read_utterances`; also for a `manifest.json` of another form, a label that the label map does
            not know, or a label map that drops every utterance.
    """
    utterances = read_utterances(path)
    facts_path = paths.manifest_facts(path)
    follows_links = False
    if facts_path.is_file():
        facts = files.read_json(facts_path, "mmer-pipe prepare")
        try:
            root, corpus = Path(facts["root"]), str(facts["corpus"])
            if not is_path(facts["root"]):
                raise ValueError
            label_map = LabelMap.from_dict(facts["label_map"])
            command = _prepare_command(facts.get("command"))  # earlier versions did not write it
            follows_links = facts.get("follow_links") is True
        except (KeyError, TypeError, AttributeError, ValueError):
            raise UserError(
                f"{facts_path} does not belong to a manifest: expected `root`, `corpus` and `label_map`. If `mmer-pipe "
                "prepare` wrote it, run that command again. Otherwise rename it or the manifest beside it."
            ) from None
    else:
        root, corpus, command = path.resolve().parent, "csv", ""
        label_map = identity_map({utterance.emotion for utterance in utterances})
    label_map.check(
        [u.emotion for u in utterances], lambda number: f"{path}, utterance {utterances[number].utterance_id}"
    )
    kept = tuple(u for u in utterances if label_map.class_of(u.emotion) is not None)
    if not kept:
        raise UserError(f"{path}: label map {label_map.name} drops every utterance.")
    return Manifest(path, root, corpus, label_map, kept, command, follows_links)


def _has_content(path: Path, facts: dict[str, Any]) -> bool:
    try:
        found = files.read_json(path, "mmer-pipe prepare")
    except UserError:
        return False
    return json.dumps(found) == json.dumps(facts)  # as text: the order of the classes matters


def _csv_cells(cells: Iterable[str]) -> list[str]:
    """Cells with the line ends that they have in the file."""
    return [cell.replace("\r\n", "\n").replace("\r", "\n") for cell in cells]
