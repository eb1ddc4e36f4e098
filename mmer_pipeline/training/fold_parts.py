"""The parts of the fold that settings describe, and checks before anything is computed; imports nothing heavy."""

from collections.abc import Iterable, Mapping, Sequence

from mmer_pipeline.corpora.asr_transcripts import check_gold
from mmer_pipeline.corpora.fold_overlap import overlap_warning, validation_overlap
from mmer_pipeline.corpora.folds import Fold, make_fold, missing_classes, validation_obstacles
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.random_folds import RANDOM
from mmer_pipeline.corpora.speaker_folds import group_count, keep_speaker_folds
from mmer_pipeline.corpora.transcripts import GOLD
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import reads_words, short_name

NAMED = 5  # folds that a warning lists
_SHARED = (
    f"With --folds {RANDOM}, held-out speakers are also in the training part. The scores tell nothing about "
    "unknown speakers; they only show how much such a split adds."
)


def fold_of(settings: Settings, manifest: Manifest) -> Fold:
    """Create the fold that the settings describe; folds of grouped speakers are first written down.

    Raises:
        UserError: there is no such fold, or its parts share speakers.
    """
    if count := group_count(settings.folds):
        keep_speaker_folds(manifest, count)
    return make_fold(
        manifest,
        settings.fold,
        column=settings.folds,
        validation=settings.validation,
        seed=settings.seed,
        text_disjoint=settings.text_disjoint,
    )


def check_words(manifest: Manifest, jobs: Iterable[Settings]) -> None:
    """Check that every utterance has a transcript, if one of these jobs reads the manifest's.

    Systems that are compared must see the same utterances, so none of them leaves any out for want of words.

    Raises:
        UserError: an utterance has none; the message names the systems that would read it.
    """
    readers = [short_name(settings.system) for settings in jobs if reads_words(settings) and GOLD in settings.sources]
    if readers:
        check_gold(manifest, list(dict.fromkeys(readers)))


def fold_warnings(manifest: Manifest, jobs: Iterable[Settings]) -> list[str]:
    """Warn of the folds of these jobs: what validation parts share with training, and which classes are missing.

    Of validation parts that are whole sessions nothing is said: only an official split, whose speakers are known to be
    in all parts, shares any.

    Raises:
        UserError: there is no such fold, or its parts share speakers.
    """
    used = ("folds", "validation", "text_disjoint", "seed", "fold")  # settings that decide about a fold's parts
    distinct = {tuple(getattr(settings, name) for name in used): settings for settings in jobs}
    made = [(settings, fold_of(settings, manifest)) for settings in distinct.values()]
    overlaps = [validation_overlap(manifest, fold) for settings, fold in made if settings.validation != "session"]
    folds = {(settings.folds, fold.number): fold for settings, fold in made if fold.number}
    apart = _validation_apart(manifest, [settings for settings, _ in made]) if overlap_warning(overlaps) else ""
    shared = _SHARED if any(settings.folds == RANDOM for settings, _ in made) else ""
    warnings = [shared, overlap_warning(overlaps, apart), _missing_classes_warning(manifest, list(folds.values()))]
    return [warning for warning in warnings if warning]


def _validation_apart(manifest: Manifest, jobs: Sequence[Settings]) -> str:
    """The `--validation` that keeps dialogues and speakers, or speakers at least, apart in all folds; "" if none can.

    Whole sessions keep both apart. One speaker keeps speakers apart, which a fraction does not.
    """
    impossible = set()
    for folds, text_disjoint in {(settings.folds, settings.text_disjoint) for settings in jobs}:
        obstacles = validation_obstacles(manifest, folds, text_disjoint=text_disjoint)
        impossible |= {choice for choice, obstacle in obstacles.items() if obstacle}
    used = {settings.validation for settings in jobs}
    return next((choice for choice in ("session", "speaker") if choice not in impossible | used), "")


def _missing_classes_warning(manifest: Manifest, folds: Sequence[Fold]) -> str:
    """Say which folds lack a class in the held-out or the training part; "" if none does."""
    untested = _lacking(manifest, {fold.number: fold.test for fold in folds})
    untrained = _lacking(manifest, {fold.number: fold.train for fold in folds})
    said = []
    if untested:
        said.append(f"Classes are missing from held-out parts, whose UA is then a mean over fewer: {untested}.")
    if untrained:
        said.append(f"Classes are missing from training parts and cannot be learned there: {untrained}.")
    return " ".join(said)


def _lacking(manifest: Manifest, parts: Mapping[int, Sequence[int]]) -> str:
    lacking = {number: missing_classes(manifest, part) for number, part in parts.items()}
    named = [f"fold {number} lacks {', '.join(missing)}" for number, missing in lacking.items() if missing]
    return "; ".join(named[:NAMED]) + (f"; and {len(named) - NAMED} more" if len(named) > NAMED else "")
