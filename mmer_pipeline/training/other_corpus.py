"""Score a run's trained models on a corpus that they were not trained on.

The features of the other corpus are in the folder of its manifest, as if that were its `--cache-dir`, since two
manifests may have the same name. Classes are matched by name, in the model's order.
"""

import shlex
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmer_pipeline import files, paths, sealed_json
from mmer_pipeline.corpora.folds import Fold
from mmer_pipeline.corpora.manifest import Manifest, read_manifest
from mmer_pipeline.corpora.readers import READERS
from mmer_pipeline.corpora.transcripts import Alphabet
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.devices import is_main_process
from mmer_pipeline.errors import UserError, first_few
from mmer_pipeline.evaluations import check_trained, read_evaluation_on
from mmer_pipeline.feature_registry import find_feature
from mmer_pipeline.features.required_features import existing_features, feature_of
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import SAME, Settings
from mmer_pipeline.suggested_commands import train_command
from mmer_pipeline.systems.base import EmotionModel
from mmer_pipeline.systems.registry import read_features
from mmer_pipeline.training.build_model import load_model
from mmer_pipeline.training.evaluation import ScoredFold, check_code, write_results
from mmer_pipeline.training.fold_inputs import Corpus, Encoders, make_examples, open_corpus
from mmer_pipeline.training.inference import predict
from mmer_pipeline.training.mixed_precision import make_accelerator
from mmer_pipeline.training.several_processes import explain_lost_process
from mmer_pipeline.waveform_versions import NONE


def settings_on(settings: Settings) -> Settings:
    """The settings with which another corpus is read: all of it as the held-out part is, and without folds."""
    _, source = settings.sources
    return replace(settings, folds="session", transcripts=source, test_transcripts=SAME, augment=NONE)


def occurring_classes(manifest: Manifest) -> tuple[str, ...]:
    """The classes that have utterances, in the manifest's order."""
    found = {manifest.label_map.class_of(utterance.emotion) for utterance in manifest.utterances}
    return tuple(label for label in manifest.labels if label in found)


def check_classes(manifest: Manifest, labels: Iterable[str]) -> None:
    """Check that models of the classes `labels` know every class of another corpus; they may know more.

    Raises:
        UserError: they do not; the message names both sets and the command that maps the labels.
    """
    labels, found = tuple(labels), occurring_classes(manifest)
    unknown = [label for label in found if label not in labels]
    if unknown:
        reader = manifest.corpus if manifest.corpus in READERS else "CORPUS"
        options = ["--root", str(manifest.root), "--manifest", str(manifest.path), "--name", manifest.corpus]
        command = manifest.command or f"mmer-pipe prepare {reader} {shlex.join(options)}"
        raise UserError(
            f"{manifest.corpus} has classes that the models do not know: {', '.join(unknown)}.\n"
            f"  classes of {manifest.path}: {', '.join(found)}\n"
            f"  classes of the models: {', '.join(labels)}\n"
            "Classes are matched by name. Write a label map that assigns the corpus's labels to the models' classes "
            "and drops the others, and prepare the corpus again:\n"
            f"  {command} --label-map labels.toml"
        )


def check_overlap(manifest: Manifest, training: Manifest) -> None:
    """Check that another corpus is not that of training, or a part of it, under another name.

    Raises:
        UserError: both have an utterance with the same id, recording, segment and speaker.
    """
    known = {_row(utterance) for utterance in training.utterances}
    _refuse_shared(manifest, training, [u.utterance_id for u in manifest.utterances if _row(u) in known])


def check_recordings(manifest: Manifest, training: Manifest, settings: Settings, cache: Path) -> None:
    """Check that no recording of another corpus was in training, by the digests that both files of features have.

    `cache` contains the features of the training corpus. Nothing is checked if the system reads no stored features of
    recordings, or if a file is missing.

    Raises:
        UserError: there is such a recording.
    """
    read = [name for name in read_features(settings) if find_feature(name).modality == "speech"]
    if not read:
        return
    found = [
        existing_features(feature_of(read[0], settings).path(directory, path), None)
        for directory, path in ((cache, training.path), (manifest.path.parent, manifest.path))
    ]
    theirs, mine = (None if file is None else dict(zip(file.utterance_ids, file.input_digests, strict=True))
                    for file in found)  # fmt: skip
    if theirs is None or mine is None:
        return
    known = {theirs[u.utterance_id] for u in training.utterances if u.utterance_id in theirs}
    shared = [u.utterance_id for u in manifest.utterances if mine.get(u.utterance_id) in known]
    _refuse_shared(manifest, training, shared)


def _row(utterance: Utterance) -> tuple[Any, ...]:
    segment = utterance.start_seconds, utterance.end_seconds
    return utterance.utterance_id, utterance.audio, *segment, utterance.speaker


def _refuse_shared(manifest: Manifest, training: Manifest, shared: list[str]) -> None:
    if shared:
        raise UserError(
            f"{len(shared)} of {len(manifest.utterances)} utterances of {manifest.path} are also in the training "
            f"corpus, {training.path}: {first_few(shared)}. They would not show how the models do on another corpus. "
            "Leave them out of one of the two manifests; to score the held-out parts, omit --manifest (or --test-on)."
        )


@explain_lost_process()
def evaluate_on(run: Path, number: int, manifest: Manifest, *, cache: Path, device: str) -> tuple[dict[str, Any], bool]:
    """Write `on-<corpus>/evaluation.json` and `predictions.csv` of a fold, unless they are up to date.

    Of a fold that was trained with a validation part, the model of the last epoch is scored. `cache` contains the
    features of the training corpus; `number` is 0 for the model that holds nothing out.

    Returns:
        The evaluation, and whether it was computed by this call.

    Raises:
        Busy: another process is training or evaluating this fold.
        UserError: the fold has not been trained, the classes do not match, the other corpus shares recordings with the
            training corpus, its features are missing, or an encoder or the code has changed since
            training.
    """
    fold_paths = paths.fold(run, number)
    name = paths.fold_name(number)
    record = RunRecord.read(fold_paths.settings, f"mmer-pipe train --run {shlex.quote(run.name)} --fold {name}")
    settings, there = settings_on(record.settings), fold_paths.on(manifest.corpus)
    again = train_command(record.settings, run.name, number)
    if not fold_paths.weights.is_file():  # this raises an error that says what is missing
        load_model(fold_paths.model, settings.system, again)
    check_code(record, run)
    check_classes(manifest, record.inputs["labels"])
    shared_speakers = _check_against_training(manifest, record, cache)
    encoders = _encoders(record, settings)
    corpus = open_corpus(manifest, settings, manifest.path.parent, encoders)
    inputs = dict(corpus.digests)
    is_main = is_main_process()
    with files.locked(fold_paths.lock) if is_main else nullcontext():
        check_trained(fold_paths, record, run.name)
        before = read_evaluation_on(fold_paths, manifest.corpus, record.identity)
        if before is not None and before["inputs"] == inputs:
            return before, False
        _check_name(manifest, there)
        model = load_model(fold_paths.model, settings.system, again, labels=record.inputs["labels"])
        scored = _score(model, corpus, settings, encoders, number, device)
        evaluation = {
            "identity": record.identity,
            "fold": number or None,
            "corpus": manifest.corpus,
            "manifest": str(manifest.path.absolute()),
            "inputs": inputs,
            "labels": list(scored.labels),
            "classes": list(occurring_classes(manifest)),  # those that UA is the mean of
            "shared_speakers": shared_speakers,
            "precision": scored.precision,
            **write_results(scored, fold_paths.weights, there.predictions),
        }
        if is_main:
            sealed_json.write(there.evaluation, evaluation)
    return evaluation, True


def _check_against_training(manifest: Manifest, record: RunRecord, cache: Path) -> list[str] | None:
    """Return the names of speakers that both corpora have; None if the training corpus is not there to look at.

    Raises:
        UserError: both have the same utterances.
    """
    path = Path(record.facts["manifest"])
    if not path.is_file():
        return None
    training = read_manifest(path)
    check_overlap(manifest, training)
    check_recordings(manifest, training, record.settings, cache)
    return sorted({u.speaker for u in manifest.utterances} & {u.speaker for u in training.utterances} - {""})


def _encoders(record: RunRecord, settings: Settings) -> Encoders:
    """Find the encoders of a run, which must be those that it was trained with.

    Raises:
        UserError: one of them is not available, or has changed.
    """
    encoders = Encoders.of(settings)
    known: Mapping[str, str] = record.facts.get("encoder_digests", {})
    for kind, encoder in (("text", encoders.text), ("speech", encoders.speech)):
        if encoder is not None and known.get(kind, encoder.digest()) != encoder.digest():
            raise UserError(
                f"The {kind} encoder {encoder.name} has changed since the run was trained (its digest was "
                f"{known[kind]} and is {encoder.digest()}). Restore it, or train the run again with --restart."
            )
    return encoders


def _check_name(manifest: Manifest, there: paths.FoldPaths) -> None:
    """Check that scores on another manifest of the same name are not overwritten.

    Raises:
        UserError: they would be.
    """
    if not there.evaluation.is_file():
        return
    try:
        before = Path(sealed_json.read(there.evaluation, "mmer-pipe evaluate --manifest")["manifest"])
    except (UserError, KeyError, TypeError):
        return  # damaged: written again
    if before.is_file() and before.resolve() != manifest.path.resolve():
        raise UserError(
            f"{there.directory} contains scores on {before}, and {manifest.path} has the same name, {manifest.corpus}. "
            "Give one of them another name: `mmer-pipe prepare … --name NAME`; or delete the directory."
        )


def _score(
    model: EmotionModel, corpus: Corpus, settings: Settings, encoders: Encoders, number: int, device: str
) -> ScoredFold:
    alphabet = Alphabet(tuple(model.alphabet)) if model.alphabet else None
    everything = tuple(range(len(corpus.manifest.utterances)))
    fold = Fold(number, corpus.manifest.corpus, train=(), validation=(), test=everything)
    accelerator, precision = make_accelerator(device, "auto" if settings.precision == "bf16" else "fp32")
    model.to(accelerator.device)
    text_encoder = encoders.text if settings.finetune_text else None  # for its tokenizer
    examples = make_examples(settings, corpus, fold, model, alphabet, text_encoder)
    predictions = predict(model, examples, fold.test, accelerator)
    return ScoredFold(_with_distinct_dialogues(corpus.manifest), fold, tuple(model.labels), precision, predictions)


def _with_distinct_dialogues(manifest: Manifest) -> Manifest:
    """The manifest with the session before a dialogue's name if two sessions use the same name for a dialogue."""
    pairs = {(u.session, u.dialogue) for u in manifest.utterances}
    if len(pairs) == len({dialogue for _, dialogue in pairs}):
        return manifest
    renamed = (replace(u, dialogue=f"{u.session}/{u.dialogue}" if u.dialogue else "") for u in manifest.utterances)
    return replace(manifest, utterances=tuple(renamed))
