"""The inputs of training a fold: encoders, verified features, CTC alphabet, and their digests."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmer_pipeline.corpora.asr_transcripts import with_source
from mmer_pipeline.corpora.folds import SPLIT, Fold, fold_values
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import ASR, GOLD, WAV2VEC2_ALPHABET, Alphabet, corpus_alphabet
from mmer_pipeline.corpora.utterances import COLUMNS
from mmer_pipeline.digests import digest_of_texts
from mmer_pipeline.encoders.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.encoders.text import TextTokenizer
from mmer_pipeline.feature_registry import find_feature, keyword
from mmer_pipeline.features.feature import Feature
from mmer_pipeline.features.feature_file import FeatureFile, open_features
from mmer_pipeline.features.required_features import existing_features, feature_of, frame_versions
from mmer_pipeline.features.speech_features import speech_inputs
from mmer_pipeline.features.text_features import text_inputs
from mmer_pipeline.features.verification import refuse_damaged
from mmer_pipeline.settings import Settings
from mmer_pipeline.suggested_commands import extract_command, place_of, transcribe_command
from mmer_pipeline.systems.base import EmotionModel
from mmer_pipeline.systems.registry import all_inputs, encoders_read, read_features, reads_words
from mmer_pipeline.training.examples import ComputedFrames, Examples, Rows, SplitRows, StoredRows, TokenIds
from mmer_pipeline.waveform_versions import versions


@dataclass(frozen=True)
class Encoders:
    """The pretrained encoders that a run uses; None: its system does not read that modality."""

    text: EncoderFiles | None
    speech: EncoderFiles | None

    @staticmethod
    def of(settings: Settings) -> "Encoders":
        """Find the encoders that the settings name.

        Raises:
            UserError: an encoder is not available.
        """
        kinds = encoders_read(settings)
        return Encoders(
            resolve_encoder(settings.text_encoder, settings.text_revision) if "text" in kinds else None,
            resolve_encoder(settings.speech_encoder, settings.speech_revision) if "speech" in kinds else None,
        )

    def of_feature(self, feature: Feature) -> EncoderFiles | None:
        """The encoder that computes a feature."""
        return {"text": self.text, "speech": self.speech}[feature.modality] if feature.has_encoder else None


@dataclass(frozen=True)
class Corpus:
    """A manifest and the features that a system reads, verified to match it."""

    manifest: Manifest
    transcripts: tuple[str, ...]  # that are read in training, by position
    test_transcripts: tuple[str, ...]  # that are read in the held-out part
    # By the names of the stored features: the file that is read in training, and that for the held-out part, which is
    # another one if other transcripts are read there.
    features: dict[str, tuple[FeatureFile, FeatureFile]]
    versions: tuple[FeatureFile, ...]  # front-end frames of the versions of the recordings that are read in training
    digests: dict[str, str]  # together they change with any manifest row, transcript, recording or feature


def open_corpus(manifest: Manifest, settings: Settings, cache: Path, encoders: Encoders | None) -> Corpus:
    """Open the features that a run with these settings reads.

    They must have been computed with `encoders`; None accepts any, for callers that compare the digests.

    Raises:
        UserError: features are missing, out of date, or from another encoder; the message names the command.
    """
    digests = {"manifest": manifest.digest}
    if settings.folds not in (*COLUMNS, SPLIT):  # the manifest's digest does not cover it
        values = fold_values(manifest, settings.folds)
        digests["fold_column"] = digest_of_texts(
            f"{u.utterance_id}\0{value}" for u, value in zip(manifest.utterances, values, strict=True)
        )
    read = [_with_source(manifest, settings, source, cache) for source in settings.sources]  # training, held-out part
    features = {}
    for name in read_features(settings):
        features[name] = _open_both(name, manifest, settings, cache, encoders)
    for prefix, source, spoken, number in _parts(settings, read):
        if source == ASR:  # CTC reads them, too
            digests[f"{prefix}asr_transcripts"] = digest_of_texts(u.transcript for u in spoken.utterances)
        if "text" in all_inputs(settings) and settings.finetune_text:
            texts = text_inputs(spoken, settings.annotations).digests
            digests[f"{prefix}transcripts"] = digest_of_texts(texts.values())
        for name, files in features.items():
            if not number or find_feature(name).modality == "text":
                ids = (utterance.utterance_id for utterance in spoken.utterances)
                digests[f"{prefix}{_digest_name(name)}"] = files[number].digest(ids)
    opened = []
    if "speech" in features:
        for frames in frame_versions(settings):
            opened.append(_open(frames, manifest, settings, cache, encoders))
            ids = (utterance.utterance_id for utterance in manifest.utterances)
            digests[f"speech_features_{frames.version}"] = opened[-1].digest(ids)
    elif "speech" in all_inputs(settings):
        digests["speech_features"] = digest_of_texts(speech_inputs(manifest).digests.values())
    transcripts, test_transcripts = (tuple(u.transcript for u in spoken.utterances) for spoken in read)
    return Corpus(manifest, transcripts, test_transcripts, features, tuple(opened), digests)


def _parts(settings: Settings, read: Sequence[Manifest]) -> Iterator[tuple[str, str, Manifest, int]]:
    """Prefix of the digests, source, words and number of the training part; also of the held-out part if it differs."""
    for number, (prefix, source, spoken) in enumerate(zip(("", "test_"), settings.sources, read, strict=True)):
        if not number or source != settings.transcripts:
            yield prefix, source, spoken, number


def _digest_name(feature: str) -> str:
    """The name of a feature's digest among a run's inputs: "text_features", "speech_layers"."""
    return f"{feature}_features" if feature in ("text", "speech") else keyword(feature)


def _with_source(manifest: Manifest, settings: Settings, source: str, cache: Path) -> Manifest:
    if not reads_words(settings):
        return manifest  # nobody reads its words
    command = transcribe_command(settings, place_of(manifest.path, cache))
    return with_source(manifest, source, settings.asr_model, command)


def _open_both(
    name: str, manifest: Manifest, settings: Settings, cache: Path, encoders: Encoders | None
) -> tuple[FeatureFile, FeatureFile]:
    """Open a feature's file for training and that for the held-out part."""
    opened: dict[Feature, FeatureFile] = {}
    sources = settings.sources if find_feature(name).modality == "text" else (GOLD, GOLD)
    features = [feature_of(name, settings, source) for source in sources]
    for feature in features:
        if feature not in opened:
            opened[feature] = _open(feature, manifest, settings, cache, encoders)
    return opened[features[0]], opened[features[1]]


def _open(
    feature: Feature, manifest: Manifest, settings: Settings, cache: Path, encoders: Encoders | None
) -> FeatureFile:
    path = feature.path(cache, manifest.path)
    encoder = encoders.of_feature(feature) if encoders else None
    identity = None if encoder is None and feature.has_encoder else feature.identity(encoder)
    existing = existing_features(path, identity)
    inputs = feature.inputs(feature.corpus(manifest), existing.known_inputs if existing else None)
    command = extract_command(settings, place_of(manifest.path, cache))
    file = open_features(path, identity, inputs.digests, command)
    return refuse_damaged(file, feature.known_dim(file))


def ctc_alphabet(settings: Settings, transcripts: Iterable[str]) -> Alphabet | None:
    """The CTC symbols, which may be those of the transcripts; None without a CTC head."""
    if not settings.alpha:
        return None
    if settings.ctc_alphabet == "corpus":
        return corpus_alphabet(transcripts)
    return Alphabet(WAV2VEC2_ALPHABET)


def make_examples(
    settings: Settings,
    corpus: Corpus,
    fold: Fold,
    model: EmotionModel,
    alphabet: Alphabet | None,
    text_encoder: EncoderFiles | None,
) -> Examples:
    """Create a system's examples: features from the cache, frames from the model's front end, or token ids."""
    stored: dict[str, Rows] = {}
    encoder = getattr(model, "speech", None)
    held_out = set(fold.test)
    pairs = zip(corpus.transcripts, corpus.test_transcripts, strict=True)
    transcripts = [test if position in held_out else read for position, (read, test) in enumerate(pairs)]
    for name, (training, testing) in corpus.features.items():
        stored[name] = StoredRows(corpus.manifest, training)
        if testing is not training:
            stored[name] = SplitRows(stored[name], StoredRows(corpus.manifest, testing), held_out)
    speech, text = stored.pop("speech", None), stored.pop("text", None)
    spoken: Sequence[Rows]
    if encoder is not None and speech is None:
        speech = ComputedFrames(corpus.manifest, encoder)
        spoken = [ComputedFrames(corpus.manifest, encoder, version) for version in versions(settings.augment)]
    else:
        spoken = [StoredRows(corpus.manifest, file) for file in corpus.versions]
    if text_encoder and settings.finetune_text:
        text = TokenIds(transcripts, TextTokenizer(text_encoder), settings.annotations)
    rate = encoder.frame_rate if encoder is not None else None
    return Examples(
        corpus.manifest, speech=speech, frame_rate=rate, text=text, alphabet=alphabet, transcripts=transcripts,
        labels=model.labels, others={keyword(name): rows for name, rows in stored.items()}, versions=spoken,
    )  # fmt: skip
