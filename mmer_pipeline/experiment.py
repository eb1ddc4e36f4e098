"""One fold of one run, put together from its settings: corpus, features, model, examples."""

import contextlib
import io
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from safetensors import SafetensorError

from mmer_pipeline import extraction, files, paths
from mmer_pipeline.data import ComputedFrames, Examples, FrameSource, StoredFrames
from mmer_pipeline.devices import resolve_device
from mmer_pipeline.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.encoders import load_speech_encoder, speech_config
from mmer_pipeline.errors import UserError
from mmer_pipeline.folds import Fold, fold_names, make_fold
from mmer_pipeline.inference import predict
from mmer_pipeline.manifest import Manifest, read_manifest
from mmer_pipeline.metrics import Predictions
from mmer_pipeline.model import MMER
from mmer_pipeline.paths import WEIGHTS_NAME, FoldPaths
from mmer_pipeline.runs import read_metrics
from mmer_pipeline.settings import RunRecord, Settings, environment
from mmer_pipeline.store import FeatureFile, digest_of, open_features
from mmer_pipeline.text import WAV2VEC2_ALPHABET, Alphabet, corpus_alphabet
from mmer_pipeline.training import Observer, Trainer


@dataclass(frozen=True)
class Encoders:
    """The two pretrained encoders that a run starts from."""

    text: EncoderFiles
    speech: EncoderFiles

    @staticmethod
    def of(settings: Settings) -> "Encoders":
        """Find both.

        Raises:
            UserError: one is not to be had.
        """
        return Encoders(
            resolve_encoder(settings.text_encoder, settings.text_revision),
            resolve_encoder(settings.speech_encoder, settings.speech_revision),
        )


@dataclass(frozen=True)
class Corpus:
    """A manifest with its features, checked against it."""

    manifest: Manifest
    text: FeatureFile
    speech: FeatureFile | None  # None: frames are computed on the fly
    speech_digest: str  # of what the frames are, or are computed from

    def digests(self) -> dict[str, str]:
        """What a result depends on here: changed rows, transcripts, recordings or features change one of them."""
        return {
            "manifest": self.manifest.fingerprint,
            "text_features": self.text.digest(u.utterance_id for u in self.manifest.utterances),
            "speech_features": self.speech_digest,
        }


def open_corpus(manifest: Manifest, settings: Settings, cache: Path, encoders: Encoders | None) -> Corpus:
    """Open the features that the settings ask for.

    They must be those of `encoders`; None takes them as they are, for whoever compares their digests.

    Raises:
        UserError: features that are missing, stale or another encoder's; the message names the command.
    """
    made_by = settings.extract_command()
    policy, dtype = settings.annotations, settings.dtype
    path = paths.text_features(cache, manifest.path, settings.text_encoder, policy, dtype)
    identity = extraction.text_identity(encoders.text, policy, dtype) if encoders else None
    text = open_features(path, identity, extraction.text_inputs(manifest, policy).digests, made_by)
    if not settings.speech_features:
        recordings = extraction.speech_inputs(manifest, None).digests
        return Corpus(manifest, text, None, digest_of(*map(str.encode, recordings.values()))[:16])
    path = paths.speech_features(cache, manifest.path, settings.speech_encoder, dtype)
    identity = extraction.speech_identity(encoders.speech, dtype) if encoders else None
    inputs = extraction.speech_inputs(manifest, extraction.known_features(path, identity))
    speech = open_features(path, identity, inputs.digests, made_by)
    return Corpus(manifest, text, speech, speech.digest(inputs.digests))


def make_accelerator(device: str, precision: str) -> tuple[Accelerator, str]:
    """An accelerator on the wanted device, and the precision that "auto" became: bf16 on a GPU that has it.

    Raises:
        UserError: no such device, or bf16 where it is not to be had.
    """
    wanted = resolve_device(device)
    on_gpu = wanted.type == "cuda"
    has_bf16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        precision = "bf16" if has_bf16 else "fp32"
    elif precision == "bf16" and on_gpu and not has_bf16:
        raise UserError("This GPU has no bf16. Train with --precision fp32.")
    if on_gpu and wanted.index is not None:
        torch.cuda.set_device(wanted)
    AcceleratorState._reset_state(reset_partial_state=True)  # folds of one process may differ in device or precision
    accelerator = Accelerator(cpu=wanted.type == "cpu", mixed_precision="no" if precision == "fp32" else precision)
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
        UserError: missing or stale features, a fold that does not exist, other settings under the same name …
    """
    fold_paths = paths.fold(run, settings.fold)
    accelerator, precision = make_accelerator(device, settings.precision)
    settings = replace(settings, precision=precision)
    fold = make_fold(manifest, settings.fold, column=settings.folds, validation=settings.validation, seed=settings.seed)
    encoders = Encoders.of(settings)
    corpus = open_corpus(manifest, settings, cache, encoders)
    alphabet = _alphabet(settings, manifest)
    inputs = {
        **corpus.digests(),
        "speech_encoder": encoders.speech.digest(),
        "labels": list(manifest.labels),
        "alphabet": list(alphabet.symbols),
        "held_out": fold.held_out,
        "processes": accelerator.num_processes,  # each draws its own dropout
    }
    record = RunRecord(settings, inputs, {})
    if accelerator.is_main_process:
        files.remove_leftovers(fold_paths.directory)
        if restart:
            files.remove_directory(fold_paths.directory)
    accelerator.wait_for_everyone()
    if _is_finished(fold_paths, record):
        return False
    set_seed(settings.seed)
    model = _new_model(settings, corpus, encoders.speech, alphabet)
    examples = make_examples(corpus, model, alphabet)
    if accelerator.is_main_process:
        facts = _facts(corpus, encoders, fold, model, examples, settings, accelerator)
        RunRecord(settings, inputs, facts).write(fold_paths.settings)
    identity = record.identity
    Trainer(settings, identity, model, examples, fold, fold_paths, accelerator, observer, save_seconds).run()
    if accelerator.is_main_process and not keep_state:
        shutil.rmtree(fold_paths.state, ignore_errors=True)
    accelerator.wait_for_everyone()
    return True


def _facts(
    corpus: Corpus,
    encoders: Encoders,
    fold: Fold,
    model: MMER,
    examples: Examples,
    settings: Settings,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """What a run's record says beside its identity."""
    manifest = corpus.manifest
    return {
        **environment(str(accelerator.device)),
        "manifest": str(manifest.path.resolve()),
        "corpus": manifest.corpus,
        "folds": fold_names(manifest, settings.folds),
        "revisions": {"text": encoders.text.revision, "speech": encoders.speech.revision},
        "utterances": {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)},
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
        raise UserError(
            f"{fold_paths.directory} holds a run with other settings or features:\n  {changes}\n"
            "Give this one a name of its own with --run NAME, or start the fold again with --restart."
        )
    done = len(read_metrics(fold_paths.metrics)) == record.settings.epochs
    return done and fold_paths.weights.is_file()


def _alphabet(settings: Settings, manifest: Manifest) -> Alphabet:
    if settings.ctc_alphabet == "corpus":
        return corpus_alphabet(utterance.transcript for utterance in manifest.utterances)
    return Alphabet(WAV2VEC2_ALPHABET)


def _new_model(settings: Settings, corpus: Corpus, speech: EncoderFiles, alphabet: Alphabet) -> MMER:
    model = MMER(
        speech_config=speech_config(speech),
        zero_mean_unit_variance=speech.normalises,
        text_dim=corpus.text.dim,
        labels=list(corpus.manifest.labels),
        alphabet=list(alphabet.symbols),
        dropout=settings.dropout,
    )
    model.speech = load_speech_encoder(speech)
    return model


def make_examples(corpus: Corpus, model: MMER, alphabet: Alphabet) -> Examples:
    """What the model needs of each utterance, its frames from the store or computed by the model's front end."""
    speech: FrameSource
    if corpus.speech is not None:
        speech = StoredFrames(corpus.manifest, corpus.speech)
    else:
        speech = ComputedFrames(corpus.manifest, model.speech)
    return Examples(corpus.manifest, corpus.text, speech, alphabet)


@dataclass(frozen=True)
class Scored:
    """A trained fold, loaded afresh and run over its held-out part."""

    manifest: Manifest
    fold: Fold
    labels: tuple[str, ...]
    precision: str  # fp32 or bf16, of this scoring
    predictions: Predictions


def load_model(directory: Path) -> MMER:
    """Load `model/` of a fold.

    Raises:
        UserError: no such directory, no weights in it, or weights that do not fit.
    """
    if not (directory / WEIGHTS_NAME).is_file():
        found = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else "no such directory"
        raise UserError(
            f"No model at {directory}: expected config.json and {WEIGHTS_NAME}, found {found}. "
            "Run `mmer-pipe train` for this fold."
        )
    try:
        # The mixin prints where it loads from; standard output is for results.
        with contextlib.redirect_stdout(io.StringIO()):
            model = MMER.from_pretrained(directory, local_files_only=True, strict=True)
    except (OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise UserError(f"The model at {directory} cannot be loaded: {error}. Train the fold again.") from None
    assert isinstance(model, MMER)
    return model.eval()


def score_fold(run: Path, number: int, *, cache: Path, device: str) -> Scored:
    """Load a trained fold's model and predict its held-out part, with the features that it was trained on.

    Raises:
        UserError: the fold is not trained, or corpus or features are no longer those of its training.
    """
    fold_paths = paths.fold(run, number)
    train = f"mmer-pipe train --run {run.name} --fold {number}"
    record = RunRecord.read(fold_paths.settings, train)
    settings = record.settings
    model = load_model(fold_paths.model)
    manifest = read_manifest(Path(record.facts["manifest"]))
    fold = make_fold(manifest, number, column=settings.folds, validation=settings.validation, seed=settings.seed)
    corpus = open_corpus(manifest, settings, cache, None)
    changed = [name for name, digest in corpus.digests().items() if record.inputs[name] != digest]
    if changed:
        raise UserError(
            f"{' and '.join(changed).replace('_', ' ')} of {manifest.path} have changed since {fold_paths.model} was "
            f"trained. Train the fold again: `{train} --restart`."
        )
    alphabet = Alphabet(tuple(model.alphabet))
    # A model that was trained in bf16 is scored in bf16 where the hardware has it.
    accelerator, precision = make_accelerator(device, "auto" if settings.precision == "bf16" else "fp32")
    model.to(accelerator.device)
    examples = make_examples(corpus, model, alphabet)
    max_frames = settings.max_batch_seconds * model.speech.frame_rate
    predictions = predict(model, examples, fold.test, max_frames, accelerator)
    return Scored(manifest, fold, tuple(model.labels), precision, predictions)
