"""Folds of grouped speakers (`--folds 5`) and the file that keeps them.

The speakers are divided by scikit-learn's StratifiedGroupKFold, so that every fold has about the same share of each
class. Speakers who share a dialogue are in the same fold. The assignment depends on the corpus alone: not on the order
of its rows, and not on the seed of training. `manifest.folds-5.csv` keeps it, so that neither another version of
scikit-learn nor further utterances of the same speakers can move a speaker to another fold.
"""

import re
import shlex
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.random_folds import RANDOM
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.csv_tables import csv_text, read_csv_rows
from mmer_pipeline.errors import NAMED, UserError, first_few

SEED = 0  # of the shuffle; if a fold gets no speaker, the next seed is tried
TRIES = 20  # seeds
USUAL_FOLDS = 5  # that messages suggest, if there are enough speakers
COLUMNS = ("speaker", "fold")
_COUNT = re.compile(r"[1-9]\d{0,5}", re.ASCII)


def group_count(folds: str) -> int | None:
    """The number of folds if `--folds` is a whole number; None for a column or an official split."""
    return int(folds) if _COUNT.fullmatch(folds) else None


def fold_unit(folds: str) -> str:
    """The noun for what a fold holds out: "session", "speaker", or with a number of folds "group of speakers"."""
    if folds == RANDOM:
        return "random part"
    return "group of speakers" if group_count(folds) else folds


def group_name(number: int) -> str:
    """The name of what fold `number` holds out: "group 2"."""
    return f"group {number}"


def speaker_folds(manifest: Manifest, count: int) -> dict[str, int]:
    """Speaker → fold, from 1: as written down, or else computed.

    Raises:
        UserError: so many folds are impossible, or the file does not fit the manifest.
    """
    path = paths.speaker_folds(manifest.path, count)
    return _read(path, manifest, count) if path.is_file() else group_speakers(manifest, count)


def keep_speaker_folds(manifest: Manifest, count: int) -> None:
    """Write the assignment of speakers to folds down beside the manifest, unless it is there already.

    Several processes may do so at the same time.

    Raises:
        UserError: so many folds are impossible, or the disk is full.
    """
    path = paths.speaker_folds(manifest.path, count)
    if path.is_file():
        return
    folds = group_speakers(manifest, count)
    with files.locked(paths.lock_of(path), wait=True):
        if path.is_file():
            return
        rows = sorted((fold, speaker) for speaker, fold in folds.items())
        files.write_bytes(path, csv_text(COLUMNS, ([speaker, str(fold)] for fold, speaker in rows)).encode())


def linked_speakers(utterances: Iterable[Utterance]) -> dict[str, str]:
    """Speaker → name of the group of speakers who are linked by shared dialogues, directly or through others.

    A dialogue is named by session and name, because two sessions may use the same name. A group has the name of its
    first speaker. Without known dialogues, every speaker is a group.
    """
    from scipy.cluster.hierarchy import DisjointSet

    links: DisjointSet = DisjointSet()
    first: dict[tuple[str, str], str] = {}  # dialogue → one of its speakers
    for utterance in utterances:
        links.add(utterance.speaker)
        if utterance.dialogue not in ("", utterance.utterance_id):  # otherwise unknown
            other = first.setdefault((utterance.session, utterance.dialogue), utterance.speaker)
            links.merge(other, utterance.speaker)
    return {speaker: min(group) for group in links.subsets() for speaker in group}


def most_folds(manifest: Manifest) -> int:
    """The largest possible number of folds of grouped speakers; 1: there are none."""
    return min(len(set(linked_speakers(manifest.utterances).values())), max(_class_counts(manifest).values()))


def group_speakers(manifest: Manifest, count: int) -> dict[str, int]:
    """Divide the speakers into folds of balanced classes: speaker → fold, from 1.

    Raises:
        UserError: so many folds are impossible.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if count < 2 or count > most_folds(manifest):
        raise UserError(_impossible(manifest, count))
    group_of = linked_speakers(manifest.utterances)
    groups = [group_of[utterance.speaker] for utterance in manifest.utterances]
    classes = [str(manifest.label_map.class_of(utterance.emotion)) for utterance in manifest.utterances]
    for seed in range(SEED, SEED + TRIES):
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        with warnings.catch_warnings():  # `missing_classes` says which class is missing where
            warnings.filterwarnings("ignore", "The least populated class in y", UserWarning)
            parts = [test for _, test in splitter.split(np.zeros(len(groups)), classes, groups)]
        if all(len(part) for part in parts):  # scikit-learn can leave a fold empty if groups have one class each
            return {manifest.utterances[i].speaker: number for number, part in enumerate(parts, 1) for i in part}
    raise UserError(
        f"--folds {count}: scikit-learn's StratifiedGroupKFold leaves a fold of {manifest.path} without speakers. "
        f"Use fewer folds{', or --folds speaker' if len(set(groups)) == len(group_of) else ''}."
    )


def _class_counts(manifest: Manifest) -> Counter[str | None]:
    return Counter(manifest.label_map.class_of(utterance.emotion) for utterance in manifest.utterances)


def _impossible(manifest: Manifest, count: int) -> str:
    group_of = linked_speakers(manifest.utterances)
    speakers, groups = len(group_of), len(set(group_of.values()))
    most = most_folds(manifest)
    if count < 2 <= most:
        return f"--folds {count} leaves nothing to train on. Expected 2 to {most}, or a column of the manifest."
    if speakers == 1:
        return (
            f"--folds {count}: all rows of {manifest.path} have the speaker {next(iter(group_of))}. No folds are "
            "possible. If that is not who speaks, name another column: `mmer-pipe prepare … --column speaker=COLUMN`."
        )
    has = f"{manifest.path} has {speakers} speakers"
    if groups < speakers:
        has += f", of whom those in the same dialogues must be in the same fold, which leaves {groups} group" + (
            "s" if groups > 1 else ""
        )
    if most < groups:
        has += f", but no class with more than {most} utterance{'s' * (most > 1)}"
    possible = f"The largest possible number is {most}." if most > 1 else "No number of folds is possible."
    return f"--folds {count}: {has}. {possible}{_links(manifest, count)}"


def _links(manifest: Manifest, count: int) -> str:
    """Name the few speakers without whom so many folds would be possible, as agents who take all calls; else ""."""
    rest: Sequence[Utterance] = manifest.utterances
    named: list[str] = []
    while len(groups := set(linked_speakers(rest).values())) < count and groups and len(named) < NAMED:
        dialogues: dict[str, set[tuple[str, str]]] = defaultdict(set)  # of each speaker
        for utterance in rest:
            dialogues[utterance.speaker].add((utterance.session, utterance.dialogue))
        busiest = min(dialogues, key=lambda speaker: (-len(dialogues[speaker]), speaker))
        named.append(f"{busiest} (in {len(dialogues[busiest])} dialogues)")
        rest = [utterance for utterance in rest if utterance.speaker != busiest]
    if not named or len(groups) < count:
        return ""
    return (
        f" The others are linked by {', '.join(named)}. Leave these rows out of your table, and there are "
        f"{len(groups)} groups. Or, if another column names who speaks, run `mmer-pipe prepare … --column "
        "speaker=COLUMN`. Or use --folds speaker, which keeps speakers apart, but not their dialogues."
    )


def _read(path: Path, manifest: Manifest, count: int) -> dict[str, int]:
    """Read the assignment and check that it fits the manifest; speakers that the manifest lacks are ignored."""
    again = (
        f"To group the speakers again, delete the file (rm {shlex.quote(str(path))}) and repeat the command; folds "
        "that were trained before must then be trained again."
    )
    found: dict[str, int] = {}
    try:
        for row in read_csv_rows(path, COLUMNS):
            speaker, fold = (row.cells[column].strip() for column in COLUMNS)
            if group_count(fold) not in range(1, count + 1):
                raise UserError(f"{row.where}: fold is {fold!r}, expected a number from 1 to {count}.")
            if found.setdefault(speaker, int(fold)) != int(fold):
                raise UserError(f"{row.where}: speaker {speaker!r} is already in fold {found[speaker]}.")
    except UserError as error:
        raise UserError(f"{error} {again}") from None
    group_of = linked_speakers(manifest.utterances)
    if missing := sorted(group_of.keys() - found.keys()):
        raise UserError(
            f"{path} has no fold for {len(missing)} of the {len(group_of)} speakers of {manifest.path}: "
            f"{first_few(missing)}. {again}"
        )
    folds = {speaker: found[speaker] for speaker in group_of}
    if torn := sorted(speaker for speaker, group in group_of.items() if folds[speaker] != folds[group]):
        raise UserError(
            f"{path} has the speakers {group_of[torn[0]]} and {torn[0]} in different folds, but dialogues of "
            f"{manifest.path} link them. {again}"
        )
    if empty := sorted(set(range(1, count + 1)) - set(folds.values())):
        raise UserError(f"{path}: no speaker of fold {empty[0]} is in {manifest.path}. {again}")
    return folds
