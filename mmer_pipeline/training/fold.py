"""One fold of one run: trained, or scored by its saved model."""

import shutil
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.folds import Fold, fold_names, make_fold, shared_speakers
from mmer_pipeline.corpora.manifest import Manifest, read_manifest
from mmer_pipeline.corpora.transcripts import Alphabet
from mmer_pipeline.devices import hardware, resolve_device
from mmer_pipeline.errors import OtherSettings, UserError
from mmer_pipeline.paths import FoldPaths
from mmer_pipeline.runs import read_metrics
from mmer_pipeline.scoring.metrics import Predictions
from mmer_pipeline.settings import RunRecord, Settings, environment
from mmer_pipeline.systems.base import EmotionModel
from mmer_pipeline.training.assembly import (
    Corpus,
    Encoders,
    build_model,
    ctc_alphabet,
    load_model,
    make_examples,
    open_corpus,
)
from mmer_pipeline.training.batches import Examples
from mmer_pipeline.training.inference import predict
from mmer_pipeline.training.loop import Observer, Trainer


def make_accelerator(device: str, precision: str) -> tuple[Accelerator, str]:
    """An accelerator on the wanted device, and the precision that "auto" became: bf16 on a GPU that has it.

    Without bf16, products are computed in TF32 where that is asked for, and only there.

    Raises:
        UserError: no such device, or a precision that it has not.
    """
    wanted = resolve_device(device)
    on_gpu = wanted.type == "cuda"
    if on_gpu and wanted.index is not None:
        torch.cuda.set_device(wanted)
    # Both came with the same generation of tensor cores.
    has_bf16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        precision = "bf16" if has_bf16 else "fp32"
    elif precision == "bf16" and on_gpu and not has_bf16:
        raise UserError("This GPU has no bf16. Train with --precision fp32.")
    elif precision == "tf32" and not has_bf16:
        raise UserError("TF32 is a number format of newer NVIDIA GPUs, and none is used. Train with --precision fp32.")
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    AcceleratorState._reset_state(reset_partial_state=True)  # folds of one process may differ in device or precision
    accelerator = Accelerator(cpu=wanted.type == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")
    return accelerator, precision


def train_fold(
    settings: Settings,
    manifest: Manifest,
    *,
    cache: Path,
    run: Path,
    device: str,
    restart: bool,
    keep_state: bool,
    save_seconds: float,
    observer: Observer,
) -> bool:
    """Train one fold, or go on with it; returns False where it was finished before and nothing had to be done.

    Writes `settings.json`, `metrics.jsonl`, `model/` and, until it is done, `state/` below the run's fold.

    Raises:
        Busy: another process trains or evaluates this fold.
        OtherSettings: the fold's directory holds a run with other settings or features.
        UserError: missing or stale features, a fold that does not exist, other settings under the same name …
    """
    fold_paths = paths.fold(run, settings.fold)
    accelerator, precision = make_accelerator(device, settings.precision)
    settings = replace(settings, precision=precision)
    fold = _fold(settings, manifest)
    encoders = Encoders.of(settings)
    corpus = open_corpus(manifest, settings, cache, encoders)
    alphabet = ctc_alphabet(settings, manifest)
    record = RunRecord(settings, _inputs(settings, corpus, encoders, fold, alphabet, accelerator.num_processes), {})
    with files.locked(fold_paths.lock) if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            files.remove_leftovers(fold_paths.directory)
            if restart:
                files.remove_directory(fold_paths.directory)
        accelerator.wait_for_everyone()
        if _is_finished(fold_paths, record):
            return False
        set_seed(settings.seed)
        model = build_model(settings, encoders, manifest.labels, alphabet)
        examples = make_examples(settings, corpus, model, alphabet, encoders.text)
        if accelerator.is_main_process:
            facts = _facts(corpus, encoders, fold, model, examples, settings, accelerator)
            replace(record, facts=facts).write(fold_paths.settings)
        Trainer(settings, record.identity, model, examples, fold, fold_paths, accelerator, observer, save_seconds).run()
        if accelerator.is_main_process and not keep_state:
            shutil.rmtree(fold_paths.state, ignore_errors=True)
        accelerator.wait_for_everyone()
    return True


def _fold(settings: Settings, manifest: Manifest) -> Fold:
    return make_fold(
        manifest,
        settings.fold,
        column=settings.folds,
        validation=settings.validation,
        seed=settings.seed,
        text_disjoint=settings.text_disjoint,
    )


def _inputs(
    settings: Settings, corpus: Corpus, encoders: Encoders, fold: Fold, alphabet: Alphabet | None, processes: int
) -> dict[str, Any]:
    """What a run's identity says beside its settings."""
    inputs: dict[str, Any] = dict(corpus.digests)
    if encoders.speech:
        inputs["speech_encoder"] = encoders.speech.digest()
    if encoders.text and settings.finetune_text:
        inputs["text_encoder"] = encoders.text.digest()
    return {
        **inputs,
        "labels": list(corpus.manifest.labels),
        "alphabet": list(alphabet.symbols) if alphabet else [],
        "held_out": fold.held_out,
        "processes": processes,  # each draws its own dropout
    }


def _facts(
    corpus: Corpus,
    encoders: Encoders,
    fold: Fold,
    model: EmotionModel,
    examples: Examples,
    settings: Settings,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """What a run's record says beside its identity."""
    manifest = corpus.manifest
    revisions = {"text": encoders.text, "speech": encoders.speech}
    return {
        **environment(str(accelerator.device)),
        "hardware": hardware(accelerator.device),
        "manifest": str(manifest.path.absolute()),
        "corpus": manifest.corpus,
        "folds": fold_names(manifest, settings.folds),
        "revisions": {name: encoder.revision for name, encoder in revisions.items() if encoder},
        "utterances": {
            "train": len(fold.train),
            "validation": len(fold.validation),
            "test": len(fold.test),
            "left_out": len(fold.left_out),
        },
        "shared_speakers": shared_speakers(manifest, fold),
        "without_ctc_target": examples.without_target,
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def _is_finished(fold_paths: FoldPaths, record: RunRecord) -> bool:
    """Whether the fold is trained; refuses one of the same name with other settings."""
    if not fold_paths.settings.is_file():
        return False
    before = RunRecord.read(fold_paths.settings, "mmer-pipe train")
    if before.identity != record.identity:
        changes = "\n  ".join(before.differences(record)) or "another version of the settings"
        raise OtherSettings(
            f"{fold_paths.directory} holds a run with other settings or features:\n  {changes}\n"
            "Give this one a run of its own with --run NAME, or start the fold again:\n  "
            f"{record.settings.train_command(fold_paths.directory.parent.name, record.settings.fold)} --restart",
            changes,
        )
    done = len(read_metrics(fold_paths.metrics)) == record.settings.epochs
    return done and fold_paths.weights.is_file()


@dataclass(frozen=True)
class Scored:
    """A trained fold, loaded afresh and run over its held-out part."""

    manifest: Manifest
    fold: Fold
    labels: tuple[str, ...]
    precision: str  # fp32 or bf16, of this scoring
    predictions: Predictions


def score_fold(run: Path, number: int, *, cache: Path, device: str) -> Scored:
    """Load a trained fold's model and predict its held-out part, with the features that it was trained on.

    Raises:
        UserError: the fold is not trained, or corpus or features are no longer those of its training.
    """
    fold_paths = paths.fold(run, number)
    record = RunRecord.read(fold_paths.settings, f"mmer-pipe train --run {run.name} --fold {number}")
    settings = record.settings
    model = load_model(fold_paths.model, settings.system)
    manifest = read_manifest(Path(record.facts["manifest"]))
    fold = _fold(settings, manifest)
    corpus = open_corpus(manifest, settings, cache, None)
    digests = dict(corpus.digests)
    text_encoder = Encoders.of(settings).text if settings.finetune_text else None  # for its tokenizer
    if text_encoder:
        digests["text_encoder"] = text_encoder.digest()
    changed = [name for name, digest in digests.items() if record.inputs[name] != digest]
    if changed:
        raise UserError(
            f"{' and '.join(changed).replace('_', ' ')} of {manifest.path} have changed since {fold_paths.model} was "
            f"trained. Train the fold again: `{settings.train_command(run.name, number)} --restart`."
        )
    alphabet = Alphabet(tuple(model.alphabet)) if model.alphabet else None
    # A model that was trained in bf16 is scored in bf16 where the hardware has it.
    accelerator, precision = make_accelerator(device, "auto" if settings.precision == "bf16" else "fp32")
    model.to(accelerator.device)
    examples = make_examples(settings, corpus, model, alphabet, text_encoder)
    predictions = predict(model, examples, fold.test, accelerator)
    return Scored(manifest, fold, tuple(model.labels), precision, predictions)
