"""Command lines to show in messages, with every setting that differs from its default."""

import shlex
from collections.abc import Iterable

from mmer_pipeline.paths import fold_name
from mmer_pipeline.settings import FEATURE_SETTINGS, OPTIONS, Settings
from mmer_pipeline.systems.registry import describe_system


def flags(settings: Settings, names: Iterable[str]) -> str:
    """The options for those of the named settings that differ from their defaults, as typed on the command line."""
    words: list[str] = []
    for name, value in settings.changed(names).items():
        flag = name.replace("_", "-")
        words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return shlex.join(words)


def extract_command(settings: Settings) -> str:
    """The command that computes the features of these settings."""
    return f"mmer-pipe extract {flags(settings, FEATURE_SETTINGS)}".rstrip()


def transcribe_command(settings: Settings) -> str:
    """The command that makes the automatic transcripts of these settings."""
    return f"mmer-pipe transcribe {flags(settings, ('asr_model', 'asr_revision'))}".rstrip()


def train_command(settings: Settings, run: str, fold: int | None = None) -> str:
    """The command that trains a fold with these settings, or all folds, in the precision that was used."""
    without_ctc = () if "alpha" in describe_system(settings.system).options else ("alpha",)
    names = [name for name in ("system", *OPTIONS) if name not in without_ctc]
    chosen = "" if fold is None else f"--fold {fold_name(fold)} "
    return f"mmer-pipe train --run {shlex.quote(run)} {chosen}{flags(settings, names)}".rstrip()


def evaluate_command(run: str, fold: int | None = None) -> str:
    """The command that evaluates a run, or one fold of it."""
    return f"mmer-pipe evaluate --run {shlex.quote(run)}" + (f" --fold {fold}" if fold is not None else "")
