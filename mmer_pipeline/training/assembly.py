"""What a run is put together from, by its settings: encoders, corpus with features, model, examples."""

import contextlib
import inspect
import io
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from mmer_pipeline import paths
from mmer_pipeline.corpora.folds import SPLIT
from mmer_pipeline.corpora.manifest import COLUMNS, Manifest
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet, corpus_alphabet
from mmer_pipeline.digests import digest_of_texts
from mmer_pipeline.encoders.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.encoders.pretrained import plain_config, read_config
from mmer_pipeline.encoders.speech import load_speech_encoder, speech_config
from mmer_pipeline.encoders.text import TextTokenizer, load_text_model
from mmer_pipeline.errors import UserError
from mmer_pipeline.features import extraction
from mmer_pipeline.features.feature_file import FeatureFile, open_features
from mmer_pipeline.paths import WEIGHTS_NAME
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.base import EmotionModel
from mmer_pipeline.systems.registry import SYSTEMS
from mmer_pipeline.training.batches import (
    ComputedFrames,
    Examples,
    FrameSource,
    StoredFrames,
    StoredTokens,
    TokenIds,
    TokenSource,
)


@dataclass(frozen=True)
class Encoders:
    """The pretrained encoders that a run starts from; None: its system does not read that."""

    text: EncoderFiles | None
    speech: EncoderFiles | None

    @staticmethod
    def of(settings: Settings) -> "Encoders":
        """Find them.

        Raises:
            UserError: one is not to be had.
        """
        reads = SYSTEMS[settings.system].reads
        return Encoders(
            resolve_encoder(settings.text_encoder, settings.text_revision) if "text" in reads else None,
            resolve_encoder(settings.speech_encoder, settings.speech_revision) if "speech" in reads else None,
        )


@dataclass(frozen=True)
class Corpus:
    """A manifest with the features that a system reads, checked against it."""

    manifest: Manifest
    text: FeatureFile | None  # None: not read, or the text encoder is trained from the transcripts
    speech: FeatureFile | None  # None: not read, or frames are computed on the fly
    digests: dict[str, str]  # changed rows, transcripts, recordings or features change one of them


def open_corpus(manifest: Manifest, settings: Settings, cache: Path, encoders: Encoders | None) -> Corpus:
    """Open the features that the settings ask for.

    They must be those of `encoders`; None takes them as they are, for whoever compares their digests.

    Raises:
        UserError: features that are missing, stale or another encoder's; the message names the command.
    """
    reads = SYSTEMS[settings.system].reads
    digests = {"manifest": manifest.fingerprint}
    if settings.folds not in (*COLUMNS, SPLIT):  # a column of the corpus's own, which the fingerprint leaves out
        cells = (f"{u.utterance_id}\0{u.value(settings.folds)}" for u in manifest.utterances)
        digests["fold_column"] = digest_of_texts(cells)
    text = speech = None
    if "text" in reads:
        inputs = extraction.text_inputs(manifest, settings.annotations).digests
        if settings.reads_text_features:
            text = _open_text(manifest, settings, cache, encoders, inputs)
            digests["text_features"] = text.digest(inputs)
        else:
            digests["transcripts"] = digest_of_texts(inputs.values())
    if "speech" in reads and settings.reads_speech_features:
        speech = _open_speech(manifest, settings, cache, encoders)
        digests["speech_features"] = speech.digest(u.utterance_id for u in manifest.utterances)
    elif "speech" in reads:
        recordings = extraction.speech_inputs(manifest, None).digests
        digests["speech_features"] = digest_of_texts(recordings.values())
    return Corpus(manifest, text, speech, digests)


def _open_text(
    manifest: Manifest, settings: Settings, cache: Path, encoders: Encoders | None, inputs: Mapping[str, str]
) -> FeatureFile:
    policy, dtype = settings.annotations, settings.dtype
    path = paths.text_features(cache, manifest.path, settings.text_encoder, policy, dtype)
    encoder = encoders.text if encoders else None
    identity = extraction.text_identity(encoder, policy, dtype) if encoder else None
    return open_features(path, identity, inputs, settings.extract_command())


def _open_speech(manifest: Manifest, settings: Settings, cache: Path, encoders: Encoders | None) -> FeatureFile:
    path = paths.speech_features(cache, manifest.path, settings.speech_encoder, settings.dtype)
    encoder = encoders.speech if encoders else None
    identity = extraction.speech_identity(encoder, settings.dtype) if encoder else None
    inputs = extraction.speech_inputs(manifest, extraction.known_features(path, identity))
    return open_features(path, identity, inputs.digests, settings.extract_command())


def ctc_alphabet(settings: Settings, manifest: Manifest) -> Alphabet | None:
    """The CTC symbols; None where no CTC head is trained."""
    if not settings.alpha:
        return None
    if settings.ctc_alphabet == "corpus":
        return corpus_alphabet(utterance.transcript for utterance in manifest.utterances)
    return Alphabet(WAV2VEC2_ALPHABET)


def model_class(system: str) -> type[EmotionModel]:
    """The class of a system."""
    found: type[EmotionModel] = pkgutil.resolve_name(SYSTEMS[system].model)
    return found


def build_model(
    settings: Settings, encoders: Encoders, labels: Sequence[str], alphabet: Alphabet | None
) -> EmotionModel:
    """A system's model with its encoders' pretrained weights.

    Its constructor is given what it names: a setting of the run, or one of the values below.
    """
    kind = model_class(settings.system)
    values: dict[str, Any] = {
        **asdict(settings),
        "labels": list(labels),
        "alphabet": list(alphabet.symbols) if alphabet else [],
    }
    if encoders.speech:
        values["speech_config"] = speech_config(encoders.speech)
        values["zero_mean_unit_variance"] = encoders.speech.normalises
    if encoders.text:
        values["text_dim"] = int(read_config(encoders.text).hidden_size)
        values["text_config"] = plain_config(encoders.text) if settings.finetune_text else None
    wanted = list(inspect.signature(kind.__init__).parameters.items())[1:]  # without self
    required = {name for name, parameter in wanted if parameter.default is parameter.empty}
    model = kind(**{name: values[name] for name, _ in wanted if name in values or name in required})
    if encoders.speech:
        model.speech = load_speech_encoder(encoders.speech)
    if encoders.text and settings.finetune_text:
        model.text = load_text_model(encoders.text)
    return model


def make_examples(
    settings: Settings,
    corpus: Corpus,
    model: EmotionModel,
    alphabet: Alphabet | None,
    text_encoder: EncoderFiles | None,
) -> Examples:
    """What the system reads of each utterance: from the store, by the model's front end, or from the transcripts."""
    speech: FrameSource | None = None
    text: TokenSource | None = None
    encoder = getattr(model, "speech", None)
    if corpus.speech:
        speech = StoredFrames(corpus.manifest, corpus.speech)
    elif encoder is not None:
        speech = ComputedFrames(corpus.manifest, encoder)
    if corpus.text:
        text = StoredTokens(corpus.manifest, corpus.text)
    elif text_encoder and settings.finetune_text:
        text = TokenIds(corpus.manifest, TextTokenizer(text_encoder), settings.annotations)
    rate = encoder.frame_rate if encoder is not None else None
    return Examples(corpus.manifest, speech=speech, frame_rate=rate, text=text, alphabet=alphabet)


def load_model(directory: Path, system: str) -> EmotionModel:
    """Load `model/` of a fold that was trained as this system.

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
            model = model_class(system).from_pretrained(directory, local_files_only=True, strict=True)
    except (OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise UserError(f"The model at {directory} cannot be loaded: {error}. Train the fold again.") from None
    assert isinstance(model, EmotionModel)
    return model.eval()
