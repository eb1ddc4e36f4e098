"""Command lines to show in messages, with every setting that differs from its default."""

import shlex
from collections.abc import Iterable
from pathlib import Path

from mmer_pipeline import paths
from mmer_pipeline.settings import FEATURE_SETTINGS, OPTIONS, Settings
from mmer_pipeline.systems.registry import describe_system, read_features


def flags(settings: Settings, names: Iterable[str]) -> str:
    """The options for those of the named settings that differ from their defaults, as typed on the command line."""
    words: list[str] = []
    for name, value in settings.changed(names).items():
        flag = name.replace("_", "-")
        words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return shlex.join(words)


def extract_command(settings: Settings, place: str = "") -> str:
    """The command that computes the features of these settings; `place` is that of the manifest (`place_of`)."""
    # By default, extract computes the features of both encoders that mmer reads.
    system = "" if set(read_features(settings)) <= {"speech", "text"} else flags(settings, ["system"])
    return " ".join(filter(None, ("mmer-pipe extract", place, system, flags(settings, FEATURE_SETTINGS))))


def transcribe_command(settings: Settings, place: str = "") -> str:
    """The command that makes the automatic transcripts of these settings; `place` is that of the manifest."""
    return " ".join(filter(None, ("mmer-pipe transcribe", place, flags(settings, ("asr_model", "asr_revision")))))


def place_of(manifest: Path, cache: Path) -> str:
    """The options that name a cache and a manifest; "" where they are the usual ones."""
    words = []
    if cache.absolute() != paths.cache_dir().absolute():
        words += ["--cache-dir", str(cache)]
    if manifest.absolute() != (cache / paths.MANIFEST_NAME).absolute():
        words += ["--manifest", str(manifest)]
    return shlex.join(words)


def train_command(settings: Settings, run: str, fold: int | None = None) -> str:
    """The command that trains a fold with these settings, or all folds, in the precision that was used."""
    without_ctc = () if "alpha" in describe_system(settings.system).options else ("alpha",)
    names = [name for name in ("system", *OPTIONS) if name not in without_ctc]
    chosen = "" if fold is None else f"--fold {paths.fold_name(fold)} "
    return f"mmer-pipe train --run {shlex.quote(run)} {chosen}{flags(settings, names)}".rstrip()


def evaluate_command(run: str, fold: int | None = None, manifest: Path | None = None) -> str:
    """The command that evaluates a run, or one fold of it, on its own corpus or on that of another manifest."""
    chosen = "" if fold is None else f" --fold {paths.fold_name(fold)}"
    on = "" if manifest is None else f" --manifest {shlex.quote(str(manifest))}"
    return f"mmer-pipe evaluate --run {shlex.quote(run)}{chosen}{on}"
