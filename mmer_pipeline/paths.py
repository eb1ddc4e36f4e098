"""Locations of all files: every file name of the project is defined here and only here."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

CACHE_DIR_VARIABLE = "MMER_CACHE_DIR"
RUNS_DIR_VARIABLE = "MMER_RUNS_DIR"
MANIFEST_NAME = "manifest.csv"
NO_FOLD = "none"  # of a model that is trained on everything
CONFIG_NAME = "mmer.toml"
ON_PREFIX = "on-"  # of the directories of a model's scores on other corpora, in the fold's
REPORT_NAME = "report"  # directory, in the runs directory, of a report on several runs
IMPORTS_REPORT_NAME = "report-with-imports"  # of one with imported predictions, which cv therefore does not replace
WEIGHTS_NAME = "model.safetensors"  # the name that huggingface_hub's mixin uses
MODEL_CONFIG_NAME = "config.json"  # likewise
REPORT_MARKDOWN, REPORT_HTML, REPORT_JSON = "report.md", "report.html", "report.json"
REPORT_LATEX, REPORT_LATEX_COLUMN = "table.tex", "table-column.tex"  # as wide as a page; as a column
METHODS_MARKDOWN, METHODS_LATEX, REFERENCES = "methods.md", "methods.tex", "references.bib"
PLOTS_NAME = "plots"  # directory of the report's plots, in the report's own
AUDIT_HTML, AUDIT_JSON = "audit.html", "audit.json"
FUSION_NAME = "fusion.json"  # of `fuse`, in the fusion's directory, which has no folds
STUDY_NAME, TUNE_HTML, TUNE_JSON = "study.db", "tune.html", "tune.json"  # of `tune`, in the study's directory
TRACKING_NAME, TENSORBOARD_NAME, MLFLOW_NAME = "tracking.json", "tensorboard", "mlflow.db"  # of `--track`

_SEED = re.compile(r"-seed[0-9]+$")  # see `run_name`


def cache_dir(flag: Path | None = None) -> Path:
    """The cache directory: the flag if given, else `MMER_CACHE_DIR`, else `./cache`."""
    return flag or Path(os.environ.get(CACHE_DIR_VARIABLE) or "cache")


def runs_dir(flag: Path | None = None) -> Path:
    """The runs directory: the flag if given, else `MMER_RUNS_DIR`, else `./runs`."""
    return flag or Path(os.environ.get(RUNS_DIR_VARIABLE) or "runs")


def manifest_facts(manifest: Path) -> Path:
    """The facts about a whole corpus (`manifest.json`): audio root, corpus name, label map."""
    return manifest.with_suffix(".json")


def unpacked_audio(manifest: Path) -> Path:
    """The folder for recordings that were embedded in the corpus's table, beside the manifest."""
    return manifest.with_suffix(".audio")


def expanded(name: str) -> Path:
    """The path with the home directory for a leading "~"; one of an unknown user is left as it is."""
    return Path(os.path.expanduser(name))  # noqa: PTH111 (Path's raises an error for an unknown user)


def is_directory(path: Path) -> bool:
    """Whether there is this directory; a name that is too long is none."""
    return os.path.isdir(path)  # noqa: PTH112 (Path's raises an error for a name that is too long)


def is_file(path: Path) -> bool:
    """Whether there is this file; a name that is too long is none."""
    return os.path.isfile(path)  # noqa: PTH113


def encoder_name(name: str) -> str:
    """An encoder's short name: a hub id unchanged, or the last part of a directory (which need not exist any more)."""
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    return Path(name).name if is_path or os.path.isdir(name) else name  # noqa: PTH112 (raises for no text)


def encoder_slug(name: str) -> str:
    """A file name for an encoder: its short name, with `--` for a hub id's slash."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", encoder_name(name).replace("/", "--"))


def features(cache: Path, manifest: Path, *parts: str) -> Path:
    """The file of a feature: the parts of its name are its kind, its encoder's slug …, and the number format."""
    return cache / "features" / manifest.stem / f"{'-'.join(parts)}.h5"


def asr_transcripts(manifest: Path, asr_model: str) -> Path:
    """The automatic transcripts of a manifest, beside it."""
    return manifest.with_name(f"{manifest.stem}.asr-{encoder_slug(asr_model)}.csv")


def all_asr_transcripts(manifest: Path) -> list[Path]:
    """The files of automatic transcripts that exist for a manifest, of any model."""
    return sorted(manifest.parent.glob(f"{manifest.stem}.asr-*.csv"))


def asr_facts(transcripts: Path) -> Path:
    """The facts about automatic transcripts: the model and its word error rate."""
    return transcripts.with_suffix(".json")


def speaker_folds(manifest: Path, count: int) -> Path:
    """The folds of grouped speakers (`--folds 5`) of a manifest, beside it."""
    return manifest.with_name(f"{manifest.stem}.folds-{count}.csv")


def partial_features(path: Path) -> Path:
    """The feature file that an extraction fills before it is renamed to `path`."""
    return path.with_suffix(".partial.h5")


def features_of_namesake(path: Path, place: str) -> Path:
    """The feature file of an encoder in the directory `place`, if `path` has those of another one of the same name."""
    return path.with_suffix(f".{hashlib.sha256(place.encode()).hexdigest()[:8]}{path.suffix}")


def verified_features(path: Path) -> Path:
    """The note that the values of the feature file `path` have been compared with their digests."""
    return path.with_name(f".{path.name}.verified")


def partial_results(path: Path) -> Path:
    """The file that keeps the results of finished recordings until all of them can be written to `path`."""
    return path.with_name(f".{path.name}.partial.jsonl")


def lock_of(path: Path) -> Path:
    """The lock file held by the process that writes `path`, in the same directory."""
    return path.with_name(f".{path.name}.lock")


def cluster_token(directory: Path) -> Path:
    """A file by whose content the workers of a cluster recognise a directory that they share with this process."""
    return directory / ".cluster-id"


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
        """One line of JSON per epoch."""
        return self.directory / "metrics.jsonl"

    @property
    def model(self) -> Path:
        """The model after the last epoch: `config.json` and `model.safetensors`."""
        return self.directory / "model"

    @property
    def weights(self) -> Path:
        """The model's weights; they exist once the fold has been trained."""
        return self.model / WEIGHTS_NAME

    @property
    def validated_model(self) -> Path:
        """The model after the epoch with the highest validation WA; only of folds with a validation part.

        With `--average-best`, it is the mean of several such epochs.
        """
        return self.directory / "model-validated"

    @property
    def validated_weights(self) -> Path:
        """The weights of the validated model."""
        return self.validated_model / WEIGHTS_NAME

    @property
    def state(self) -> Path:
        """The state from which an interrupted run resumes."""
        return self.directory / "state"

    @property
    def checkpoint(self) -> Path:
        """The saved state itself."""
        return self.state / "checkpoint.safetensors"

    def model_of(self, epoch: int) -> Path:
        """The model after an epoch that may be averaged (`--average-best`), a part of the state."""
        return self.state / f"epoch-{epoch}"

    @property
    def tracking(self) -> Path:
        """The ids of the trackers' runs (`--track`), by which they are continued."""
        return self.directory / TRACKING_NAME

    @property
    def failure_log(self) -> Path:
        """The log of this fold's failed job in a cross-validation: workers, traceback, the worker's log."""
        return self.directory / "failure.log"

    @property
    def lock(self) -> Path:
        """Held by the process that works on the fold; outside its directory, because `--restart` deletes that."""
        return lock_of(self.directory)

    @property
    def predictions(self) -> Path:
        """One row per utterance of the held-out part."""
        return self.directory / "predictions.csv"

    @property
    def validated_predictions(self) -> Path:
        """The same as `predictions`, of the validated model."""
        return self.directory / "predictions-validated.csv"

    @property
    def evaluation(self) -> Path:
        """All metrics of the held-out part."""
        return self.directory / "evaluation.json"

    @property
    def trained(self) -> tuple[Path, ...]:
        """All files that training leaves, except the settings; those of the validated model may be missing."""
        models = (self.model, self.validated_model)
        return (self.metrics, *(model / name for model in models for name in (MODEL_CONFIG_NAME, WEIGHTS_NAME)))

    def on(self, corpus: str) -> "FoldPaths":
        """The `evaluation` and the `predictions` of the fold's model for another corpus."""
        return FoldPaths(self.directory / f"{ON_PREFIX}{encoder_slug(corpus)}")


MODEL_DESCRIPTION = "mmer_model.json"  # of a packed model; its presence marks the directory as one
MODEL_CARD = "README.md"


def fusion(run: Path) -> Path:
    """The record of a fusion of runs; its presence marks the directory as one."""
    return run / FUSION_NAME


def fused_predictions(run: Path) -> Path:
    """The predictions of a fusion for the held-out parts of all folds."""
    return run / "predictions.csv"


def run_name(name: str, seed: int) -> str:
    """The name of a system's run with a seed: its own for seed 1, otherwise with the seed after it."""
    return name if seed == 1 else f"{name}-seed{seed}"


def without_seed(name: str) -> str:
    """The name of a run's system: its own without the seed."""
    return _SEED.sub("", name)


def runs_of_all_seeds(run: Path) -> list[Path]:
    """The run directories that exist of the same system, whatever their seed, the given one first."""
    name = without_seed(run.name)
    found = [path for path in run.parent.glob("*") if without_seed(path.name) == name and path.is_dir()]
    return sorted(found, key=lambda path: (path != run, path.name))


def starting_lock(run: Path) -> Path:
    """The lock of a fold that starts, held until its record is written, so that the next one can follow it."""
    return lock_of(run.parent / f"{without_seed(run.name)}.starting")


def fold(run: Path, number: int) -> FoldPaths:
    """The files of fold `number` of a run directory, counted from 1; 0: the model that holds nothing out."""
    return FoldPaths(run / f"fold-{fold_name(number)}")


def fold_name(number: int) -> str:
    """A fold as the option `--fold` names it: "3", or "none" for 0."""
    return str(number) if number else NO_FOLD
