"""The evaluate stage: load the saved models of a trained fold and score the held-out part.

A fold has the model of the last epoch and, if it was trained with a validation part, that of the validated epoch.
"""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mmer_pipeline import files, paths, sealed_json
from mmer_pipeline.corpora.folds import Fold
from mmer_pipeline.corpora.manifest import Manifest, read_manifest
from mmer_pipeline.corpora.transcripts import Alphabet
from mmer_pipeline.devices import is_main_process
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.errors import UserError
from mmer_pipeline.evaluations import NotEvaluated, read_evaluation
from mmer_pipeline.runs import RunRecord, input_title, read_metrics, validated_epochs, write_predictions
from mmer_pipeline.scoring.metrics import Predictions, score
from mmer_pipeline.settings import Settings
from mmer_pipeline.suggested_commands import train_command
from mmer_pipeline.training.build_model import load_model
from mmer_pipeline.training.code_identity import advice, changed_code
from mmer_pipeline.training.fold_inputs import Encoders, make_examples, open_corpus
from mmer_pipeline.training.fold_parts import fold_of
from mmer_pipeline.training.inference import predict
from mmer_pipeline.training.mixed_precision import make_accelerator
from mmer_pipeline.training.several_processes import explain_lost_process
from mmer_pipeline.waveform_versions import NONE


@dataclass(frozen=True)
class ScoredFold:
    """Predictions of a saved model for the held-out part of its fold, or for the validation part."""

    manifest: Manifest
    fold: Fold
    labels: tuple[str, ...]
    precision: str  # of these predictions: fp32 or bf16
    predictions: Predictions


def score_fold(
    run: Path,
    record: RunRecord,
    *,
    cache: Path,
    device: str,
    directory: Path | None = None,
    part: Literal["test", "validation"] = "test",
) -> ScoredFold:
    """Load a trained fold's model and predict a part, the held-out one, from the features it was trained on.

    `directory` contains the model; by default, that of the last epoch.

    Raises:
        UserError: the fold has not been trained, or its corpus or features have changed since.
    """
    settings = replace(record.settings, augment=NONE)  # only training reads other versions of the recordings
    fold_paths = paths.fold(run, settings.fold)
    command = train_command(record.settings, run.name, settings.fold)
    directory = directory or fold_paths.model
    model = load_model(directory, settings.system, command, labels=record.inputs["labels"])
    manifest = read_manifest(Path(record.facts["manifest"]))
    fold = fold_of(settings, manifest)
    corpus = open_corpus(manifest, settings, cache, None)
    digests = dict(corpus.digests)
    text_encoder = Encoders.of(settings).text if settings.finetune_text else None  # for its tokenizer
    if text_encoder:
        digests["text_encoder"] = text_encoder.digest()
    changed = [name for name, digest in digests.items() if record.inputs.get(name) != digest]
    if changed:
        raise UserError(
            f"Changed since {directory} was trained: {_listed(settings, changed)} (corpus "
            f"{manifest.path}). Train the fold again: `{command} --restart`."
        )
    alphabet = Alphabet(tuple(model.alphabet)) if model.alphabet else None
    # A model trained in bf16 is scored in bf16 if the hardware supports it.
    accelerator, precision = make_accelerator(device, "auto" if settings.precision == "bf16" else "fp32")
    model.to(accelerator.device)
    examples = make_examples(settings, corpus, fold, model, alphabet, text_encoder)
    predictions = predict(model, examples, getattr(fold, part), accelerator)
    return ScoredFold(manifest, fold, tuple(model.labels), precision, predictions)


@explain_lost_process()
def evaluate_fold(run: Path, number: int, *, cache: Path, device: str) -> tuple[dict[str, Any], bool]:
    """Write `evaluation.json` and `predictions.csv` of a fold, unless they are up to date.

    The model of the validated epoch, if there is one, has the entry "validated" and `predictions-validated.csv`.

    Returns:
        The evaluation, and whether it was computed by this call.

    Raises:
        Busy: another process is training or evaluating this fold.
        UserError: the fold has not been trained, or its inputs have changed since.
    """
    fold_paths = paths.fold(run, number)
    record = RunRecord.read(fold_paths.settings, f"mmer-pipe train --run {shlex.quote(run.name)} --fold {number}")
    if not fold_paths.weights.is_file():  # this raises an error that says what is missing
        load_model(fold_paths.model, record.settings.system, train_command(record.settings, run.name, number))
    check_code(record, run)
    is_main = is_main_process()
    with files.locked(fold_paths.lock) if is_main else nullcontext():
        with suppress(NotEvaluated):
            return read_evaluation(fold_paths, record, run.name), False
        scored = score_fold(run, record, cache=cache, device=device)
        evaluation = {
            "identity": record.identity,
            "fold": number,
            "held_out": scored.fold.held_out,
            "labels": list(scored.labels),
            "precision": scored.precision,
            **write_results(scored, fold_paths.weights, fold_paths.predictions),
        }
        if fold_paths.validated_weights.is_file():
            # The validated epoch may be the last one, whose predictions are known.
            if digest_of_result(fold_paths.validated_weights) != evaluation["model_digest"]:
                scored = score_fold(run, record, cache=cache, device=device, directory=fold_paths.validated_model)
            best = validated_epochs(read_metrics(fold_paths.metrics), record.settings.average_best)
            evaluation["validated"] = {
                "epoch": best[0],
                **({"averaged": best} if record.settings.average_best > 1 else {}),
                **write_results(scored, fold_paths.validated_weights, fold_paths.validated_predictions),
            }
        if is_main:
            sealed_json.write(fold_paths.evaluation, evaluation)
    return evaluation, True


def check_code(record: RunRecord, run: Path) -> None:
    """Check that the code of the system and its training is that of the trained fold.

    Raises:
        UserError: it has changed, so that earlier predictions are not those of the present code, nor its weights.
    """
    settings = record.settings
    changed = changed_code(settings.system, record.inputs, record.facts)
    if changed:
        raise UserError(
            f"Changed since {paths.fold(run, settings.fold).directory} was trained: "
            f"{_listed(settings, changed)}. Train the fold again:\n  "
            f"{train_command(settings, run.name, settings.fold)} --restart{advice(changed)}"
        )


def _listed(settings: Settings, changed: Sequence[str]) -> str:
    """The inputs that have changed, in a message."""
    return ", ".join(input_title(settings, name) for name in changed)


def write_results(scored: ScoredFold, weights: Path, predictions: Path) -> dict[str, Any]:
    """Write the predictions of a model; returns its metrics, and digests of its weights and predictions."""
    results = {"metrics": score(scored.predictions, scored.labels), "model_digest": digest_of_result(weights)}
    if is_main_process():  # if there are several processes, they have shared the work
        with_gate = any(gate is not None for gate in scored.predictions.gates)
        write_predictions(predictions, scored.labels, _rows(scored), with_gate=with_gate)
        results["predictions_digest"] = digest_of_result(predictions)
    return results


def _rows(scored: ScoredFold) -> Iterator[list[str]]:
    predictions = scored.predictions
    for row, position in enumerate(scored.fold.test):
        utterance, gate = scored.manifest.utterances[position], predictions.gates[row]
        yield [
            utterance.utterance_id,
            str(scored.fold.number),
            utterance.speaker,
            utterance.dialogue,
            scored.labels[predictions.truth[row]],
            scored.labels[predictions.predicted[row]],
            *(f"{probability:.6f}" for probability in predictions.probabilities[row]),
            predictions.transcripts[row],
            *([] if gate is None else [f"{gate:.6f}"]),
        ]
