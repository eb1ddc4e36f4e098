"""Select the utterances to train on: map the labels, check the recordings and transcripts."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mmer_pipeline import audio
from mmer_pipeline.audio import AudioError, AudioInfo
from mmer_pipeline.corpora.folds import natural_order
from mmer_pipeline.corpora.labels import IDENTITY, LabelMap, identity_map, load_label_map
from mmer_pipeline.corpora.missing_recordings import check_found
from mmer_pipeline.corpora.readers import Reading
from mmer_pipeline.corpora.utterances import Utterance, link_target
from mmer_pipeline.errors import UserError, first_few, printable

MAX_AUDIO_SECONDS = 60.0  # a longer utterance is more likely a recording that was not segmented
MIN_AUDIO_SECONDS = 0.1  # five frames of wav2vec 2.0, too short for a word
Progress = Callable[[int, int], None]  # called with the number of recordings checked, and the number of all
NAMED = 5  # examples in a message
LONGEST_LINE = 1_000  # characters of each

PROBLEMS = {  # kind → meaning, in the order of the report
    "missing": "no recording",
    "unreadable": "recording damaged, truncated or not audio",
    "empty": "recording too short or without samples",
    "outside": "segment extends beyond its recording",
    "elsewhere": "recording is a link to a file outside the audio root (--follow-links reads such files)",
    "too_long": "recording too long",
    "no_transcript": "no transcript (left out, as --drop-untranscribed says)",
    "untranscribed": "kept, but without a transcript (systems that read words need --transcripts asr or none, or "
    "`prepare` with --drop-untranscribed, which leaves these utterances out)",
    "converted": "kept, but resampled or mixed down on every read (not 16 kHz mono)",
}
NO_WORDS = (  # in place of "untranscribed" if no utterance has a transcript
    "no utterance has a transcript: systems that only hear (wav2vec2, cai:alpha=0) need none; `mmer-pipe transcribe` "
    "makes transcripts, which the others read with --transcripts asr"
)
KEPT = ("untranscribed", "converted")  # the kinds that do not exclude the utterance


@dataclass(frozen=True)
class Preparation:
    """The utterances that were kept, and why the others were not."""

    label_map: LabelMap
    utterances: tuple[Utterance, ...]  # kept, in the order in which they were read
    seconds: tuple[float, ...]  # their durations
    dropped: Mapping[str, int]  # dropped label → utterances, the most frequent first
    problems: Mapping[str, tuple[str, ...]]  # kind (see `PROBLEMS`) → utterance ids; only kinds that occur
    reasons: Mapping[str, str]  # utterance id → what is wrong with its recording, as a sentence

    @property
    def excluded(self) -> tuple[str, ...]:
        """The utterances that are excluded because of a problem, each once."""
        return tuple(dict.fromkeys(i for kind, ids in self.problems.items() if kind not in KEPT for i in ids))

    @property
    def class_counts(self) -> dict[str, int]:
        """Class → utterances, in the label map's order; 0 for a class without any."""
        return self._count(self.utterances)

    @property
    def session_counts(self) -> dict[str, dict[str, int]]:
        """Session → class → utterances, the sessions in natural order."""
        members: dict[str, list[Utterance]] = {}
        for utterance in self.utterances:
            members.setdefault(utterance.session, []).append(utterance)
        return {name: self._count(members[name]) for name in sorted(members, key=natural_order)}

    @property
    def speakers(self) -> tuple[str, ...]:
        """The speakers, sorted."""
        return tuple(sorted({utterance.speaker for utterance in self.utterances}))

    def problem_lines(self) -> list[str]:
        """The problems as text: one line per kind with its count, and the first few utterances below it."""
        lines = []
        for kind, ids in self.problems.items():
            if kind == "untranscribed" and len(ids) == len(self.utterances):
                lines.append(NO_WORDS)
                continue
            lines.append(f"{len(ids)} × {PROBLEMS[kind]}:")
            reasons = {} if kind == "no_transcript" else self.reasons  # of the recording
            listed = (f"  {name}{': ' + reasons[name] if name in reasons else ''}" for name in ids[:NAMED])
            lines += [printable(line[:LONGEST_LINE]) for line in listed]
            if len(ids) > NAMED:
                lines.append(f"  and {len(ids) - NAMED} more")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Every count as plain values, for JSON."""
        return {
            "utterances": len(self.utterances),
            "hours": round(sum(self.seconds) / 3600, 4),
            "label_map": self.label_map.as_dict(),
            "classes": self.class_counts,
            "sessions": self.session_counts,
            "speakers": list(self.speakers),
            "dropped_labels": dict(self.dropped),
            "problems": {kind: list(ids) for kind, ids in self.problems.items()},
        }

    def _count(self, utterances: Iterable[Utterance]) -> dict[str, int]:
        counts = Counter(self.label_map.class_of(utterance.emotion) for utterance in utterances)
        return {name: counts[name] for name in self.label_map.classes}


def choose_label_map(reading: Reading, name: str | None = None) -> LabelMap:
    """Choose a label map by name (built in, "identity", or a TOML file); None is the corpus's default.

    Raises:
        UserError: there is no such label map.
    """
    chosen = name or reading.label_map
    if chosen == IDENTITY:
        return identity_map({utterance.emotion for utterance in reading.utterances})
    return load_label_map(chosen)


def prepare(
    reading: Reading,
    label_map: LabelMap,
    *,
    max_audio_seconds: float = MAX_AUDIO_SECONDS,
    min_audio_seconds: float = MIN_AUDIO_SECONDS,
    drop_untranscribed: bool = False,
    progress: Progress | None = None,
) -> Preparation:
    """Map the labels, then check the recording and the transcript of every utterance that the label map keeps.

    Each recording is probed once, however many segments it contains; `progress` is called after each. A transcript
    that consists only of an annotation, such as `[LAUGHTER]`, counts as a transcript. Utterances without one are
    kept, because systems that only hear need none, unless `drop_untranscribed`.

    Raises:
        UserError: two utterances have the same id, the label map does not know a label, or no utterance is left.
    """
    _check_unique(reading.utterances)
    label_map.check([u.emotion for u in reading.utterances], reading.place)
    candidates = [u for u in reading.utterances if label_map.class_of(u.emotion) is not None]
    check_found(reading, candidates)
    dropped = Counter(u.emotion for u in reading.utterances if label_map.class_of(u.emotion) is None)
    probes = _probe_all(reading, candidates, progress)

    kept: list[Utterance] = []
    seconds: list[float] = []
    problems: dict[str, list[str]] = {kind: [] for kind in PROBLEMS}
    reasons: dict[str, str] = {}
    for utterance in candidates:
        name, probe = utterance.utterance_id, probes[utterance.audio]
        kind, reason, duration = _judge(utterance, probe, min_audio_seconds, max_audio_seconds)
        if kind:
            problems[kind].append(name)
            reasons[name] = f"{utterance.audio}: {reason}"
        transcribed = bool(utterance.transcript.strip())
        if drop_untranscribed and not transcribed:
            problems["no_transcript"].append(name)
        elif not kind:
            kept.append(utterance)
            seconds.append(duration)
            if not transcribed:
                problems["untranscribed"].append(name)
            if isinstance(probe, AudioInfo) and probe.needs_conversion:
                problems["converted"].append(name)
    preparation = Preparation(
        label_map=label_map,
        utterances=tuple(kept),
        seconds=tuple(seconds),
        dropped=dict(dropped.most_common()),
        problems={kind: tuple(names) for kind, names in problems.items() if names},
        reasons=reasons,
    )
    if not kept:
        raise UserError(_nothing_left(reading, preparation))
    return preparation


def _judge(
    utterance: Utterance, probe: AudioInfo | AudioError, shortest: float, longest: float
) -> tuple[str | None, str, float]:
    """The kind of problem with an utterance's recording (None: no problem), the reason, and its length in seconds."""
    if isinstance(probe, AudioError):
        return probe.fault, probe.reason, 0.0
    try:
        first, last = probe.segment(utterance.start_seconds, utterance.end_seconds)
    except AudioError as error:
        return error.fault, error.reason, 0.0
    duration = (last - first) / probe.sample_rate_hz
    if duration < shortest:
        return "empty", f"{duration:.3f} s long, expected at least {shortest:g} s", duration
    if duration > longest:
        return "too_long", f"{duration:.1f} s long, expected at most {longest:g} s", duration
    return None, "", duration


def _probe_all(
    reading: Reading, utterances: Iterable[Utterance], progress: Progress | None
) -> dict[str, AudioInfo | AudioError]:
    """Audio path → the facts of that recording, or the error that it raises."""

    def probe(name: str) -> AudioInfo | AudioError:
        path = reading.root / name
        if not reading.follows_links and (target := link_target(reading.root, name)) is not None:
            return AudioError(path, "elsewhere", f"it is a link to {target}")
        try:
            return audio.probe(path)
        except AudioError as error:
            return error

    names = list(dict.fromkeys(utterance.audio for utterance in utterances))
    found: dict[str, AudioInfo | AudioError] = {}
    with ThreadPoolExecutor(max_workers=min(16, 4 + (os.cpu_count() or 1))) as pool:  # mostly waiting for the disk
        for name, result in zip(names, pool.map(probe, names), strict=True):
            found[name] = result
            if progress is not None:
                progress(len(found), len(names))
    return found


def _check_unique(utterances: Iterable[Utterance]) -> None:
    counts = Counter(utterance.utterance_id for utterance in utterances)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise UserError(
            f"{len(repeated)} utterance ids appear more than once: {first_few(repeated)}. Features and "
            "predictions are stored by id, so every id must be unique. Check whether a folder was copied twice."
        )


def _nothing_left(reading: Reading, preparation: Preparation) -> str:
    lines = [f"None of the {len(reading.utterances)} utterances in {reading.source} can be used."]
    if preparation.dropped:
        labels = ", ".join(f"{label} {count}" for label, count in preparation.dropped.items())
        lines.append(f"Label map {preparation.label_map.name} drops {sum(preparation.dropped.values())}: {labels}.")
    return "\n".join(lines + preparation.problem_lines())
