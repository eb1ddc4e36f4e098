"""The train stage: train one fold of one run."""

import shutil
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.asr_transcripts import transcripts_used
from mmer_pipeline.corpora.fold_overlap import shared_speakers, validation_overlap
from mmer_pipeline.corpora.folds import Fold, fold_names
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import ASR, Alphabet
from mmer_pipeline.devices import hardware
from mmer_pipeline.errors import OtherSettings
from mmer_pipeline.evaluations import check_trained
from mmer_pipeline.paths import FoldPaths
from mmer_pipeline.runs import RunRecord, environment, has_ended, read_metrics, trained_digests
from mmer_pipeline.settings import Settings
from mmer_pipeline.suggested_commands import train_command
from mmer_pipeline.systems.registry import find_system
from mmer_pipeline.training import code_identity
from mmer_pipeline.training.build_model import build_model
from mmer_pipeline.training.code_identity import Code, code_of
from mmer_pipeline.training.fitting import fit_fold
from mmer_pipeline.training.fold_inputs import Corpus, Encoders, ctc_alphabet, make_examples, open_corpus
from mmer_pipeline.training.fold_parts import fold_of
from mmer_pipeline.training.job import FoldJob, Observer
from mmer_pipeline.training.loop import Trainer
from mmer_pipeline.training.mixed_precision import make_accelerator, precision_of_run
from mmer_pipeline.training.several_processes import explain_lost_process


@explain_lost_process()
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
    score_held_out: bool = True,
) -> bool:
    """Train one fold, or resume it; returns False if it was already trained with these settings.

    Writes `settings.json`, `metrics.jsonl`, `model/`, with a validation part `model-validated/`, and, until training is
    complete, `state/` to the fold's directory. Without `score_held_out`, nothing is computed on the held-out part.

    Raises:
        Busy: another process is training or evaluating this fold.
        OtherSettings: the fold's directory contains a run with other settings or inputs.
        UserError: features are missing or out of date, there is no such fold, a loss is not a number, another process
            ended …
    """
    fold_paths = paths.fold(run, settings.fold)
    with ExitStack() as starting:
        precision = starting.enter_context(precision_of_run(run, settings, device, restart=restart))
        accelerator, precision = make_accelerator(device, precision)
        is_main = accelerator.is_main_process
        settings = replace(settings, precision=precision)
        fold = fold_of(settings, manifest) if score_held_out else replace(fold_of(settings, manifest), test=())
        encoders = Encoders.of(settings)
        corpus = open_corpus(manifest, settings, cache, encoders)
        alphabet, code = ctc_alphabet(settings, corpus.transcripts), code_of(settings.system)
        inputs = _inputs(settings, corpus, encoders, fold, alphabet, accelerator.num_processes)
        record = RunRecord(settings, {**inputs, **code.inputs()}, {})
        with files.locked(fold_paths.lock) if is_main else nullcontext():
            if is_main:
                _clear(fold_paths.directory, restart=restart)
            accelerator.wait_for_everyone()
            before = _record_before(fold_paths, record)
            if before and has_ended(settings, read_metrics(fold_paths.metrics)) and fold_paths.weights.is_file():
                if is_main:
                    check_trained(fold_paths, before, run.name)
                if is_main and before.files is None:  # an earlier version, or a process that was killed, trained it
                    _finish(before, fold_paths, keep_state)
                return False
            set_seed(settings.seed)
            model = build_model(settings, encoders, manifest.labels, alphabet)
            examples = make_examples(settings, corpus, fold, model, alphabet, encoders.text)
            job = FoldJob(settings, model, examples, fold, fold_paths, accelerator, observer)
            record = _with_facts(record, before, _facts(corpus, encoders, job), code)
            if is_main:
                record.write(fold_paths.settings)
            starting.close()
            _train(job, record.identity, save_seconds)
            if is_main:
                _finish(record, fold_paths, keep_state)
            accelerator.wait_for_everyone()
    return True


def _clear(directory: Path, *, restart: bool) -> None:
    """Remove what interrupted writes left; with `restart`, everything."""
    files.remove_leftovers(directory)
    if restart:
        files.remove_directory(directory)


def _with_facts(record: RunRecord, before: RunRecord | None, facts: dict[str, Any], code: Code) -> RunRecord:
    """Add the facts to a fold's record; what it recorded `before`, if it was begun, stays as it is."""
    if before is None:
        return replace(record, facts={**facts, "code": code.digests})
    facts |= {"code": code.digests} if "code" in before.facts else {}
    return replace(record, inputs=before.inputs, recorded=before.recorded, facts=facts)


def _train(job: FoldJob, identity: str, save_seconds: float) -> None:
    if find_system(job.settings.system).is_fitted:
        fit_fold(job)
        return
    model, device = job.model.to(job.accelerator.device), job.accelerator.device
    batches = (batch.to(device).inputs for batch in job.examples.batches(job.fold.train))
    model.prepare(batches, *job.examples.truth_and_groups(job.fold.train), job.settings)
    Trainer(job, identity, save_seconds).run()


def _finish(record: RunRecord, fold_paths: FoldPaths, keep_state: bool) -> None:
    """Remove the saved state; add the digests of what training wrote to its record, so that a change is noticed.

    Raises:
        UserError: the state cannot be removed; then the next call finishes the fold.
    """
    if not keep_state and fold_paths.state.exists():
        with files.explain_disk_errors(fold_paths.state):
            shutil.rmtree(fold_paths.state)
    replace(record, files=trained_digests(fold_paths)).write(fold_paths.settings)


def _inputs(
    settings: Settings, corpus: Corpus, encoders: Encoders, fold: Fold, alphabet: Alphabet | None, processes: int
) -> dict[str, Any]:
    """The part of a run's identity that is not in its settings."""
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
        "processes": processes,  # each has its own random numbers for dropout
    }


def _facts(corpus: Corpus, encoders: Encoders, job: FoldJob) -> dict[str, Any]:
    """The part of a run's record that does not belong to its identity."""
    manifest, settings, fold, device = corpus.manifest, job.settings, job.fold, job.accelerator.device
    used = {name: found for name, found in (("text", encoders.text), ("speech", encoders.speech)) if found}
    return {
        **environment(str(device)),
        "hardware": hardware(device),
        "manifest": str(manifest.path.absolute()),
        "corpus": manifest.corpus,
        "folds": fold_names(manifest, settings.folds),
        "revisions": {name: encoder.revision for name, encoder in used.items()},
        "encoder_digests": {name: encoder.digest() for name, encoder in used.items()},
        "utterances": {
            "train": len(fold.train),
            "validation": len(fold.validation),
            "test": len(fold.test),
            "left_out": len(fold.left_out),
        },
        "asr_transcripts": transcripts_used(manifest, settings.asr_model) if ASR in settings.sources else None,
        "shared_speakers": shared_speakers(manifest, fold),
        "validation_overlap": asdict(validation_overlap(manifest, fold)),
        "without_ctc_target": job.examples.without_target,
        "trained_parameters": sum(p.numel() for p in job.model.parameters() if p.requires_grad),
    }


def _record_before(fold_paths: FoldPaths, record: RunRecord) -> RunRecord | None:
    """The fold's record, which has these settings and inputs; None: it has not been trained.

    Raises:
        OtherSettings: the fold's directory contains a run with others.
    """
    if not fold_paths.settings.is_file():
        return None
    command = train_command(record.settings, fold_paths.directory.parent.name, record.settings.fold)
    before = RunRecord.read(fold_paths.settings, command)
    inputs = code_identity.as_recorded_before(record.inputs, record.settings.system, before.facts)
    record = replace(record, inputs=inputs)
    if before.digest != record.digest:
        differences = before.differences(record)
        changes = "\n  ".join(differences) or "another version of the settings"
        raise OtherSettings(
            f"{fold_paths.directory} contains a run with other settings or inputs:\n  {changes}\n"
            "Use another run with --run NAME, or start the fold again:\n  "
            f"{command} --restart{code_identity.advice(differences)}",
            changes,
        )
    return before
