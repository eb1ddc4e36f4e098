"""The folds and validation parts that a corpus allows, as `prepare` reports them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mmer_pipeline.corpora.folds import PARTS, SPLIT, fold_names, fold_values, validation_obstacles
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.random_folds import RANDOM
from mmer_pipeline.corpora.speaker_folds import USUAL_FOLDS, group_count, most_folds
from mmer_pipeline.corpora.utterances import COLUMNS
from mmer_pipeline.errors import UserError

MANY_FOLDS = 10  # with more sessions, fewer folds of grouped speakers are suggested
NAMED = 3  # speakers or folds that a line lists


@dataclass(frozen=True)
class FoldChoice:
    """The folds that one value of `--folds` makes."""

    folds: str  # the value: "session", "speaker", another column, "5", "split"
    held_out: Mapping[str, int]  # what each fold holds out → utterances in it
    shared_speakers: tuple[str, ...] = ()  # in several folds, which training refuses except in an official split
    untested: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # fold → classes not held out
    untrained: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # fold → classes not trained on
    refusal: str = ""  # why training would refuse it; "" if it would not

    @property
    def lacking(self) -> int:
        """The number of folds that lack a class in the held-out or the training part."""
        return len({*self.untested, *self.untrained})

    def line(self) -> str:
        """One line of text, beginning with the option."""
        if self.refusal:
            return f"--folds {self.folds}: refused; {self.refusal}"
        sizes = sorted(set(self.held_out.values()))
        size = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        count = len(self.held_out)
        text = f"--folds {self.folds}: {count} fold{'s' * (count != 1)}, {size} utterances held out"
        if group_count(self.folds):
            text += " (speakers grouped, classes balanced)"
        if self.shared_speakers:
            text += f"; {_speakers(self.shared_speakers)} also in the training part"
        for part, missing in (("held-out", self.untested), ("training", self.untrained)):
            if missing:
                named = [f"{name} ({', '.join(labels)})" for name, labels in missing.items()]
                text += f"; the {part} part lacks a class in {_listed(named)}"
        return text


@dataclass(frozen=True)
class PossibleFolds:
    """All values of `--folds` that suggest themselves, and the validation parts of the recommended one."""

    choices: tuple[FoldChoice, ...]
    recommended: str | None  # the value of `--folds` to begin with; None if no folds are possible
    validations: Mapping[str, str]  # with the recommended folds: `--validation` → why it is refused, or ""

    def lines(self) -> list[str]:
        """The folds, one a line, and a line on validation."""
        lines = []
        for number, choice in enumerate(self.choices):
            before = self.choices[:number] if choice.held_out else ()
            same = [other.folds for other in before if other.held_out == choice.held_out]
            lines.append(f"--folds {choice.folds}: the folds of --folds {same[0]}" if same else choice.line())
        if self.recommended is None:
            return [*lines, "No folds are possible: at least two speakers are needed, so that one can be held out."]
        possible = [name for name, obstacle in self.validations.items() if not obstacle]
        refused = [
            f"not {name} ({obstacle.partition('. ')[0].rstrip('.')})"
            for name, obstacle in self.validations.items()
            if obstacle
        ]
        fits = f"--validation {', '.join(possible)}" if possible else "no --validation"
        return [*lines, "; ".join([f"Suggested: --folds {self.recommended}, which allows {fits}", *refused])]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def possible_folds(manifest: Manifest) -> PossibleFolds:
    """Find the folds that a corpus allows: by session, speaker and further columns, of grouped speakers, official."""
    choices = [_choice(manifest, folds) for folds in _candidates(manifest)]
    possible = {choice.folds: choice for choice in choices if not choice.refusal}
    recommended = _recommended(possible)
    validations = {} if recommended is None else validation_obstacles(manifest, recommended)
    validations.pop("none", None)
    return PossibleFolds(tuple(choices), recommended, validations)


def _candidates(manifest: Manifest) -> list[str]:
    sessions = {utterance.session for utterance in manifest.utterances}
    official = [SPLIT] if sessions == set(PARTS) else []
    others = [name for name in manifest.columns if name not in COLUMNS and _is_like_a_group(manifest, name)]
    count = max(2, min(USUAL_FOLDS, most_folds(manifest)))
    return [*official, "session", "speaker", *others, str(count)]


def _is_like_a_group(manifest: Manifest, column: str) -> bool:
    """Whether a further column could define folds: complete, and with several values that do not divide a speaker.

    A column with few values is shown even if they divide speakers, because somebody may want to use it.
    """
    of_speaker: dict[str, set[str]] = defaultdict(set)
    for utterance in manifest.utterances:
        of_speaker[utterance.speaker].add(utterance.value(column))
    values = set().union(*of_speaker.values())
    apart = all(len(found) == 1 for found in of_speaker.values())
    return len(values) > 1 and "" not in values and (apart or len(values) <= MANY_FOLDS)


def _choice(manifest: Manifest, folds: str) -> FoldChoice:
    try:
        names, values = fold_names(manifest, folds), fold_values(manifest, folds)
    except UserError as error:
        return FoldChoice(folds, {}, refusal=str(error).removeprefix(f"--folds {folds}: "))
    if len(names) < 2 and folds != SPLIT:
        return FoldChoice(folds, {}, refusal=f"there is only one {folds}, {names[0]}")
    labels = [str(manifest.label_map.class_of(utterance.emotion)) for utterance in manifest.utterances]
    present = {PARTS[0]} if folds == SPLIT else set(values)
    others = {name: present - {name} for name in names}  # that are trained on
    members: dict[str, set[str]] = defaultdict(set)  # fold → classes
    of_speaker: dict[str, set[str]] = defaultdict(set)  # speaker → folds
    for utterance, label, value in zip(manifest.utterances, labels, values, strict=True):
        members[value].add(label)
        if folds != SPLIT or value != PARTS[1]:  # the dev part is neither trained on nor held out
            of_speaker[utterance.speaker].add(value)
    sizes = Counter(values)
    shared = tuple(sorted(speaker for speaker, found in of_speaker.items() if len(found) > 1))
    return FoldChoice(
        folds,
        {name: sizes[name] for name in names},
        shared,
        _missing(manifest, {name: members[name] for name in names}),
        _missing(manifest, {name: set().union(*(members[other] for other in others[name])) for name in names}),
        f"{_speakers(shared)} in several folds" if shared and folds not in (SPLIT, RANDOM) else "",
    )


def _missing(manifest: Manifest, parts: Mapping[str, set[str]]) -> dict[str, tuple[str, ...]]:
    missing = {name: tuple(x for x in manifest.labels if x not in found) for name, found in parts.items()}
    return {name: labels for name, labels in missing.items() if labels}


def _recommended(possible: Mapping[str, FoldChoice]) -> str | None:
    """The folds to begin with: sessions, or grouped speakers if sessions are refused, many, or lack more classes."""
    number = next((folds for folds in possible if group_count(folds)), None)
    if "session" in possible:
        sessions = possible["session"]
        lacks_more = number is not None and sessions.lacking > possible[number].lacking
        if number is None or (len(sessions.held_out) <= MANY_FOLDS and not lacks_more):
            return "session"
    return next((folds for folds in (SPLIT, number, "speaker") if folds in possible), None)


def _speakers(names: Sequence[str]) -> str:
    """Count and name speakers: "2 speakers (anna, ben) are"."""
    return f"{len(names)} speaker{'s' * (len(names) > 1)} ({_listed(names, ', ')}) {'are' if len(names) > 1 else 'is'}"


def _listed(names: Sequence[str], separator: str = "; ") -> str:
    more = f"{separator}and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return separator.join(names[:NAMED]) + more
