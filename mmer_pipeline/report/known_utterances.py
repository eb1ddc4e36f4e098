"""The utterances of our own runs, by which those of an imported file are found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.errors import UserError
from mmer_pipeline.report.run_results import SystemResults

_Parts = tuple[str, ...]  # of a path


@dataclass(frozen=True)
class Known:
    """The facts about an utterance that our own runs record, and that an imported file need not give."""

    fold: int
    held_out: str
    speaker: str
    cluster: str
    truth: int


@dataclass(frozen=True)
class KnownUtterances:
    """All utterances of our runs; empty, and false, if there is no run."""

    utterances: Mapping[str, Known] = field(default_factory=dict)  # by id
    labels: tuple[str, ...] = ()  # our classes
    paths: Mapping[str, _Parts] = field(default_factory=dict)  # id → the parts of the recording's path
    corpus_labels: Mapping[str, str] = field(default_factory=dict)  # the corpus's own label → class

    def __bool__(self) -> bool:
        return bool(self.utterances)

    @staticmethod
    def of(systems: Sequence[SystemResults]) -> "KnownUtterances":
        """Collect what the first system that has an utterance records, and the names of recordings of its manifest."""
        known: dict[str, Known] = {}
        for system in systems:
            rows = system.held_out
            cells = zip(rows.utterance_ids, rows.folds, rows.speakers, rows.clusters, rows.truth.tolist(), strict=True)
            for name, fold, speaker, cluster, truth in cells:
                known.setdefault(name, Known(fold, system.held_outs[fold], speaker, cluster, truth))
        if not known:
            return KnownUtterances()
        run = systems[0].runs[0]
        labels = tuple(run.folds[0].evaluation.labels)
        try:
            manifest = read_manifest(Path(run.record.facts["manifest"]))
        except UserError:  # the report says so in another place
            return KnownUtterances(known, labels)
        parts = {u.utterance_id: _parts(u.audio) for u in manifest.utterances if u.utterance_id in known}
        return KnownUtterances(
            known,
            labels,
            paths=parts,
            corpus_labels={old: new for new, group in manifest.label_map.classes.items() for old in group},
        )

    def label_map_line(self) -> str:
        """The label map in a message: " (our label map: happy = hap, exc; angry = ang)"; "" if it renames nothing."""
        if all(old == new for old, new in self.corpus_labels.items()):
            return ""
        of = {label: [old for old, new in self.corpus_labels.items() if new == label] for label in self.labels}
        lines = [f"{label} = {', '.join(names)}" for label, names in of.items()]
        return f" (our label map: {'; '.join(lines)})"

    def by_recording(self, path: str) -> str | None:
        """Find an utterance by the path or name of its recording, or by a path that ends in the utterance id.

        Recordings come first: with ids that are numbers, `1.wav` may be the recording of another utterance than 1.
        Slashes and backslashes are the same, and the suffix does not matter. None if there is none, or several have
        this recording.
        """
        said = _without_suffix(_parts(path))
        if not said:
            return None
        stem = said[-1]
        of_name = self._by_end.get((stem,), ())
        if not of_name:
            return stem if stem in self.utterances else None
        found = set(of_name) if len(of_name) == 1 else set(self._by_end.get(said, ()))
        for start in range(len(said)):
            found.update(self._by_path.get(said[start:], ()))
        return found.pop() if len(found) == 1 else None

    @cached_property
    def _by_path(self) -> dict[_Parts, list[str]]:
        """The utterances of each recording, by its path without suffix."""
        found: dict[_Parts, list[str]] = {}
        for name, path in self.paths.items():
            found.setdefault(_without_suffix(path), []).append(name)
        return found

    @cached_property
    def _by_end(self) -> dict[_Parts, list[str]]:
        """The first two utterances whose recordings have a path that ends so."""
        found: dict[_Parts, list[str]] = {}
        for path, names in self._by_path.items():
            for start in range(len(path)):
                of_end = found.setdefault(path[start:], [])
                of_end += names[: 2 - len(of_end)]
        return found


def _without_suffix(path: _Parts) -> _Parts:
    return (*path[:-1], PurePosixPath(path[-1]).stem) if path else path


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(path.strip().replace("\\", "/")).parts
