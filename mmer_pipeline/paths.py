"""Where everything lies on the disk: every file name of the project stands here and nowhere else."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

CACHE_DIR_VARIABLE = "MMER_CACHE_DIR"
RUNS_DIR_VARIABLE = "MMER_RUNS_DIR"
MANIFEST_NAME = "manifest.csv"
CONFIG_NAME = "mmer.toml"
REPORT_NAME = "report"  # the directory of a report of several runs, beside theirs
WEIGHTS_NAME = "model.safetensors"  # as huggingface_hub's mixin names it


def cache_dir(flag: Path | None = None) -> Path:
    """The cache: the flag, then `MMER_CACHE_DIR`, then `./cache`."""
    return flag or Path(os.environ.get(CACHE_DIR_VARIABLE) or "cache")


def runs_dir(flag: Path | None = None) -> Path:
    """The runs: the flag, then `MMER_RUNS_DIR`, then `./runs`."""
    return flag or Path(os.environ.get(RUNS_DIR_VARIABLE) or "runs")


def manifest_facts(manifest: Path) -> Path:
    """What cannot stand in the manifest's rows: audio root, corpus, label map (`manifest.json`)."""
    return manifest.with_suffix(".json")


def encoder_name(name: str) -> str:
    """An encoder's short name: a hub id as it is, of a directory (which may be gone by now) its own name."""
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or Path(name).is_dir()
    return Path(name).name if is_path else name


def encoder_slug(name: str) -> str:
    """A file name for an encoder: its short name, with `--` for a hub id's slash."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", encoder_name(name).replace("/", "--"))


def text_features(cache: Path, manifest: Path, encoder: str, annotations: str, dtype: str) -> Path:
    """The text features of one manifest, encoder, annotation policy and number format."""
    name = f"text-{encoder_slug(encoder)}-{annotations}-{dtype}.h5"
    return cache / "features" / manifest.stem / name


def speech_features(cache: Path, manifest: Path, encoder: str, dtype: str) -> Path:
    """The speech front end's features of one manifest, encoder and number format."""
    return cache / "features" / manifest.stem / f"speech-{encoder_slug(encoder)}-{dtype}.h5"


def lock_of(path: Path) -> Path:
    """What the process holds that writes `path`: a file beside it."""
    return path.with_name(f".{path.name}.lock")


@dataclass(frozen=True)
class FoldPaths:
    """The files of one fold of a run: `runs/<run>/fold-k/`."""

    directory: Path

    @property
    def settings(self) -> Path:
        """All settings of the fold, written before the first step."""
        return self.directory / "settings.json"

    @property
    def metrics(self) -> Path:
        """One JSON line an epoch."""
        return self.directory / "metrics.jsonl"

    @property
    def model(self) -> Path:
        """The model after the last epoch: `config.json` and `model.safetensors`."""
        return self.directory / "model"

    @property
    def weights(self) -> Path:
        """The model's weights; where they are, the fold is trained."""
        return self.model / WEIGHTS_NAME

    @property
    def state(self) -> Path:
        """What a killed run goes on from."""
        return self.directory / "state"

    @property
    def failure_log(self) -> Path:
        """The traceback of what was not foreseen when a cross-validation worked on the fold."""
        return self.directory / "failure.log"

    @property
    def lock(self) -> Path:
        """Held by the process that works on the fold; beside its directory, which `--restart` takes away."""
        return lock_of(self.directory)

    @property
    def predictions(self) -> Path:
        """One row an utterance of the held-out fold."""
        return self.directory / "predictions.csv"

    @property
    def evaluation(self) -> Path:
        """Every metric of the held-out fold."""
        return self.directory / "evaluation.json"


def fold(run: Path, number: int) -> FoldPaths:
    """The files of fold `number` (counted from 1) of a run directory."""
    return FoldPaths(run / f"fold-{number}")
