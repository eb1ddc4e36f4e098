"""The utterances of our own runs, by which those of an imported file are found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.errors import UserError
from mmer_pipeline.report.run_results import SystemResults


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
    recordings: Mapping[str, str] = field(default_factory=dict)  # name of a recording without suffix → id, if unique
    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # id → the parts of the recording's path
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
        stems = Counter(_stem(path[-1]) for path in parts.values())
        return KnownUtterances(
            known,
            labels,
            recordings={_stem(path[-1]): name for name, path in parts.items() if stems[_stem(path[-1])] == 1},
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
        parts = _parts(path)
        if not parts:
            return None
        stem = _stem(parts[-1])
        if stem in self.recordings:
            return self.recordings[stem]
        own = {name: (*path[:-1], _stem(path[-1])) for name, path in self._by_stem(stem)}
        if not own:
            return stem if stem in self.utterances else None
        said = (*parts[:-1], stem)
        ends = [name for name, path in own.items() if said[-len(path) :] == path or path[-len(said) :] == said]
        return ends[0] if len(ends) == 1 else None

    def _by_stem(self, stem: str) -> list[tuple[str, tuple[str, ...]]]:
        """Return the utterances whose recording has this name, which several folders may have."""
        return [(name, path) for name, path in self.paths.items() if _stem(path[-1]) == stem]


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(path.strip().replace("\\", "/")).parts


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
