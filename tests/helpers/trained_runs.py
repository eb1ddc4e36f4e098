"""Trained runs of several systems on one tiny corpus, for the tests of packing and of predicting."""

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import write_tiny_corpus

from helpers.pipeline import extract, quick_settings, train
from helpers.run_example import edit_json
from mmer_pipeline import paths
from mmer_pipeline.prediction import recognizer as recognizer_module
from mmer_pipeline.prediction.recognizer import EmotionRecognizer
from mmer_pipeline.prediction.trained_model import TrainedModel, model_of_run
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training.evaluation import evaluate_fold

HEARD = "it is on the table"  # by the ASR model that is none
RATE = 16_000


def write_runs(directory: Path, tiny_text: Path, tiny_speech: Path) -> Path:
    """Write `corpus/`, `cache/` and `runs/` to a directory.

    Runs: mmer (both folds), all (trained on everything, and fold 1), and of fold 1 alone no-gate, cai (speech only,
    with CTC, frames computed on the fly), roberta (text only), tuned (its encoder fine-tuned) and mmer-tuned (mmer with
    a fine-tuned text encoder). Folds are evaluated.
    """
    with contextlib.chdir(directory):
        manifest = write_tiny_corpus(directory)
        extract(manifest, tiny_text, tiny_speech)
        mmer = quick_settings(tiny_text, tiny_speech)
        shared = {
            name: getattr(mmer, name)
            for name in ("fold", "text_encoder", "speech_encoder", "epochs", "learning_rate", "batch_size")
        }
        runs = {
            "no-gate": replace(mmer, gate=False),
            "cai": settings_for("cai", alpha=0.01, speech_features=False, **shared),
            "roberta": settings_for("roberta", **shared),
            "tuned": settings_for("roberta", finetune_text=True, **shared),
            "mmer-tuned": replace(mmer, finetune_text=True),
        }
        for number in (1, 2):
            train(replace(mmer, fold=number), manifest)
            evaluate_fold(Path("runs/mmer"), number, cache=Path("cache"), device="cpu")
        train(replace(mmer, fold=0), manifest, run=Path("runs/all"))
        shutil.copytree("runs/mmer/fold-1", "runs/all/fold-1")
        for name, settings in runs.items():
            train(settings, manifest, run=Path("runs") / name)
            evaluate_fold(Path("runs") / name, 1, cache=Path("cache"), device="cpu")
    return directory


def copy_run(trained: Path, name: str) -> Path:
    """A copy of a run in the working directory's runs, which a test may change."""
    return Path(shutil.copytree(trained / "runs" / name, Path("runs") / name))


def change_settings(run: Path, fold: int = 1, **changes: object) -> None:
    """Change settings of a fold's record."""
    edit_json(paths.fold(run, fold).settings, lambda record: record["settings"].update(changes))


def model(trained: Path, run: str = "mmer", *folds: int) -> TrainedModel:
    """The model of a run, by default of its fold 1."""
    return model_of_run(trained / "runs" / run, folds or (1,))


class FakeAsr:
    """Stands for an ASR model that hears the same words in everything; counts what it was asked."""

    def __init__(self, text: str = HEARD) -> None:
        self.text, self.asked = text, 0

    def transcribe(self, waveforms: list[np.ndarray]) -> list[str]:
        self.asked += len(waveforms)
        return [self.text] * len(waveforms)


def fake_asr(monkeypatch: pytest.MonkeyPatch) -> FakeAsr:
    """Use a fake instead of embedded ASR models; it is returned."""
    fake = FakeAsr()
    resolve = recognizer_module.resolve_encoder
    known = type("Files", (), {"digest": lambda _: "asr"})()
    monkeypatch.setattr(
        recognizer_module,
        "resolve_encoder",
        lambda name, revision: known if name.startswith("embedded/") else resolve(name, revision),
    )
    monkeypatch.setattr(recognizer_module, "AsrModel", lambda *_: fake)
    return fake


def recognizer(trained_model: TrainedModel, asr: FakeAsr | None = None, **options: object) -> EmotionRecognizer:
    """A recognizer on the CPU whose ASR model is a fake."""
    made = EmotionRecognizer(trained_model, device="cpu", **options)
    made._asr = asr or FakeAsr()  # type: ignore[assignment]
    return made


def tone(seconds: float, pitch_hz: float = 220.0, rate: int = RATE) -> np.ndarray:
    """A tone in a little noise: float32 `[samples]`."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 0.01, len(time))
    return (0.3 * np.sin(2 * np.pi * pitch_hz * time) + noise).astype(np.float32)


def write_tones(*names: str, seconds: float = 0.5) -> None:
    """Write tones; each is longer and higher than the one before."""
    for number, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(name, tone(seconds + 0.1 * number, 110.0 * (number + 1)), RATE)
