"""Dialogues and speakers that the parts of a fold have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmer_pipeline.corpora.folds import Fold
from mmer_pipeline.corpora.manifest import Manifest


def shared_speakers(manifest: Manifest, fold: Fold) -> list[str]:
    """The held-out speakers that are also in the training or validation part: none, except in an official split."""
    known = {manifest.utterances[i].speaker for i in (*fold.train, *fold.validation)}
    return sorted({manifest.utterances[i].speaker for i in fold.test} & known)


@dataclass(frozen=True)
class Overlap:
    """Dialogues and speakers that a fold's validation and training parts have in common."""

    dialogues: int
    speakers: int


def validation_overlap(manifest: Manifest, fold: Fold) -> Overlap:
    """Count the dialogues and speakers of the validation part that are also in the training part.

    A dialogue is named by session and name, because two sessions may use the same name.
    """
    training, validation = ([manifest.utterances[i] for i in part] for part in (fold.train, fold.validation))
    dialogues = [{(u.session, u.dialogue) for u in part} for part in (training, validation)]
    speakers = [{u.speaker for u in part} for part in (training, validation)]
    return Overlap(len(dialogues[0] & dialogues[1]), len(speakers[0] & speakers[1]))


def overlap_warning(overlaps: Sequence[Overlap], apart: str = "") -> str:
    """Say what validation parts share with training parts, and which `--validation` keeps it `apart`; "" if nothing."""
    speakers = max((overlap.speakers for overlap in overlaps), default=0)
    dialogues = max((overlap.dialogues for overlap in overlaps), default=0)
    if not (speakers or dialogues):
        return ""
    counts = ((speakers, "speaker"), (dialogues, "dialogue"))
    shared = " and ".join(f"{count} {name}{'s' * (count > 1)}" for count, name in counts if count)
    remedy = f"; in a cross-validation, `--validation {apart}` keeps them apart" if apart else ""
    return (
        f"The validation part of a fold has up to {shared} in common with its training part"
        f"{'' if speakers else ', through their other speakers'}. Validation scores are therefore not those of new "
        f"{'speakers' if speakers else 'conversations'}{remedy}."
    )
