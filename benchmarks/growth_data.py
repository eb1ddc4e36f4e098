"""Data of the growth benchmark: a corpus of long recordings, and evaluated runs, with any number of utterances.

Lengths and transcripts are like IEMOCAP's, but the amount of data is small: the recordings have 1 kHz (only their
headers are read, and their bytes hashed), and the features have a width of 8.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.growth_workspace import DIM, Workspace
from benchmarks.shapes import transcript, utterance_seconds
from mmer_pipeline import files, paths
from mmer_pipeline.corpora.labels import identity_map
from mmer_pipeline.corpora.manifest import Manifest, read_manifest, write_manifest
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.demo.encoders import tiny_speech_encoder, tiny_text_encoder
from mmer_pipeline.demo.sentences import sample_lines
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.runs import RunRecord, environment, write_predictions
from mmer_pipeline.scoring.metrics import Predictions, score
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import settings_for

RATE = 1_000  # Hz
UTTERANCES_PER_RECORDING = 50  # a recording is a dialogue of two speakers
SESSIONS = 10
SPEAKERS = 200
EMOTIONS = ("angry", "happy", "neutral", "sad")
EPOCHS = 20
ACCURACY = {"mmer": 0.7, "wav2vec2": 0.6}  # of the reported systems


def write_corpus(workspace: Workspace, count: int) -> None:
    """Write recordings, their manifest for `prepare csv`, and the encoders for `extract`."""
    root = workspace.corpus
    root.mkdir(parents=True)
    seconds = utterance_seconds(count)
    utterances: list[Utterance] = []
    for first in range(0, count, UTTERANCES_PER_RECORDING):
        utterances += _write_recording(root, first, seconds[first : first + UTTERANCES_PER_RECORDING])
    label_map = identity_map(set(EMOTIONS))
    write_manifest(root / paths.MANIFEST_NAME, utterances, root=root, corpus="csv", label_map=label_map)
    tiny_text_encoder(workspace.encoders["text"], sample_lines(), hidden_size=DIM, num_attention_heads=2)
    tiny_speech_encoder(workspace.encoders["speech"], conv_dim=(DIM,) * 7)


def _write_recording(root: Path, first: int, seconds: np.ndarray) -> Iterator[Utterance]:
    number = first // UTTERANCES_PER_RECORDING
    generator = np.random.default_rng(number)
    borders = np.concatenate([[0.0], np.cumsum(np.ceil(seconds * RATE) / RATE)])
    name = f"dialogue-{number:05d}.wav"
    samples = generator.integers(-30, 30, round(borders[-1] * RATE), dtype=np.int16) * np.int16(256)
    soundfile.write(root / name, samples, RATE, subtype="PCM_U8")
    session = number % SESSIONS
    for i, length in enumerate(seconds):
        pair = number // SESSIONS % (SPEAKERS // SESSIONS // 2)
        yield Utterance(
            utterance_id=f"utterance-{first + i:06d}",
            audio=name,
            start_seconds=round(float(borders[i]), 4),
            end_seconds=round(float(borders[i + 1]), 4),
            speaker=f"speaker-{session}-{2 * pair + i % 2}",
            session=f"session-{session + 1}",
            dialogue=f"dialogue-{number:05d}",
            emotion=EMOTIONS[generator.integers(len(EMOTIONS))],
            transcript=transcript(float(length), generator),
        )


def write_runs(workspace: Workspace, _count: int) -> None:
    """Write evaluated runs of two systems, one fold per session, with random predictions."""
    manifest = read_manifest(workspace.manifest)
    sessions = sorted({utterance.session for utterance in manifest.utterances})
    for system, accuracy in ACCURACY.items():
        for number, session in enumerate(sessions, start=1):
            positions = [i for i, u in enumerate(manifest.utterances) if u.session == session]
            write_fold(
                workspace.runs / system,
                settings_for(system, fold=number, epochs=EPOCHS),
                manifest,
                positions,
                sessions,
                accuracy,
            )


def write_fold(
    run: Path, settings: Settings, manifest: Manifest, positions: list[int], sessions: list[str], accuracy: float
) -> None:
    """Write an evaluated fold, whose random predictions for the utterances at these positions are its seed's."""
    fold, held_out = paths.fold(run, settings.fold), sessions[settings.fold - 1]
    labels = list(manifest.labels)
    inputs = {"labels": labels, "manifest": manifest.digest, "text_features": "", "speech_features": "",
              "held_out": held_out}  # fmt: skip
    facts = {"folds": sessions, "corpus": manifest.corpus, "manifest": str(manifest.path.resolve()),
             "without_ctc_target": 0, **environment("cpu")}  # fmt: skip
    record = RunRecord(settings, inputs, facts)
    record.write(fold.settings)
    utterances = [manifest.utterances[position] for position in positions]
    predictions = _random_predictions(utterances, labels, accuracy, 1000 * settings.seed + settings.fold)
    metrics = score(predictions, labels)
    train = {"loss": 1.0, "ce": 1.0, "ctc": 2.0 if settings.alpha else None}
    line = {"train": train, "held_out": metrics, "validation": None,
            "speed": {"seconds": 60.0, "utterances_per_second": 100.0}}  # fmt: skip
    epochs = ({"epoch": epoch, **line} for epoch in range(1, settings.epochs + 1))
    files.write_text(fold.metrics, "".join(map(files.json_line, epochs)))
    fold.model.mkdir(parents=True)
    fold.weights.touch()
    write_predictions(fold.predictions, labels, _rows(utterances, labels, predictions, settings.fold))
    evaluation: dict[str, Any] = {
        "identity": record.digest,
        "fold": settings.fold,
        "held_out": held_out,
        "labels": labels,
        "precision": settings.precision,
        "metrics": metrics,
        "model_digest": digest_of_result(fold.weights),
        "predictions_digest": digest_of_result(fold.predictions),
    }
    files.write_json(fold.evaluation, evaluation)


def _random_predictions(utterances: list[Utterance], labels: list[str], accuracy: float, seed: int) -> Predictions:
    generator = np.random.default_rng(seed)
    truth = np.array([labels.index(utterance.emotion) for utterance in utterances])
    predicted = np.where(
        generator.random(len(truth)) < accuracy, truth, generator.integers(len(labels), size=len(truth))
    )
    scores = generator.random((len(truth), len(labels))) + np.eye(len(labels))[predicted]
    no_text = ("",) * len(truth)
    names = tuple(utterance.utterance_id for utterance in utterances)
    return Predictions(names, truth, scores / scores.sum(axis=1, keepdims=True), no_text, no_text)


def _rows(utterances: list[Utterance], labels: list[str], predictions: Predictions, fold: int) -> Iterator[list[str]]:
    predicted = predictions.predicted
    for row, utterance in enumerate(utterances):
        truth, prediction = labels[predictions.truth[row]], labels[predicted[row]]
        probabilities = [f"{probability:.6f}" for probability in predictions.probabilities[row]]
        yield [utterance.utterance_id, str(fold), utterance.speaker, utterance.dialogue, truth, prediction,
               *probabilities, utterance.transcript.upper()]  # fmt: skip
