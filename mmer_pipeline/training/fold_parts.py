"""The parts of the fold that settings describe; imports nothing heavy."""

from collections.abc import Iterable

from mmer_pipeline.corpora.folds import Fold, make_fold, overlap_warning, validation_overlap
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.settings import Settings


def fold_of(settings: Settings, manifest: Manifest) -> Fold:
    """Create the fold that the settings describe.

    Raises:
        UserError: there is no such fold, or its parts share speakers.
    """
    return make_fold(
        manifest,
        settings.fold,
        column=settings.folds,
        validation=settings.validation,
        seed=settings.seed,
        text_disjoint=settings.text_disjoint,
    )


def validation_warning(manifest: Manifest, jobs: Iterable[Settings]) -> str:
    """Say what the validation parts of these jobs share with their training parts; "" if they share nothing.

    Of whole sessions nothing is said: only an official split, whose speakers are known to be in all parts, shares any.

    Raises:
        UserError: there is no such fold, or its parts share speakers.
    """
    used = ("folds", "validation", "text_disjoint", "seed", "fold")  # settings that decide about a fold's parts
    wanted = [settings for settings in jobs if settings.validation != "session"]
    distinct = {tuple(getattr(settings, name) for name in used): settings for settings in wanted}
    folds = [fold_of(settings, manifest) for settings in distinct.values()]
    return overlap_warning([validation_overlap(manifest, fold) for fold in folds])
