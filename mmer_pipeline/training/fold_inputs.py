"""The inputs of training a fold: encoders, verified features, CTC alphabet, and their digests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmer_pipeline.corpora.asr_transcripts import with_source
from mmer_pipeline.corpora.folds import SPLIT, Fold, fold_values
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import ASR, WAV2VEC2_ALPHABET, Alphabet, corpus_alphabet
from mmer_pipeline.corpora.utterances import COLUMNS
from mmer_pipeline.digests import digest_of_texts
from mmer_pipeline.encoders.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.encoders.text import TextTokenizer
from mmer_pipeline.errors import UserError
from mmer_pipeline.features import required_features
from mmer_pipeline.features.feature_file import FeatureFile, open_features
from mmer_pipeline.features.verification import refuse_damaged
from mmer_pipeline.settings import Settings
from mmer_pipeline.suggested_commands import extract_command, transcribe_command
from mmer_pipeline.systems.base import EmotionModel
from mmer_pipeline.systems.registry import find_system, reads_speech_features, reads_text_features, reads_words
from mmer_pipeline.training.examples import ComputedFrames, Examples, Rows, SplitRows, StoredRows, TokenIds


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
        reads = find_system(settings.system).reads
        return Encoders(
            resolve_encoder(settings.text_encoder, settings.text_revision) if "text" in reads else None,
            resolve_encoder(settings.speech_encoder, settings.speech_revision) if "speech" in reads else None,
        )


@dataclass(frozen=True)
class Corpus:
    """A manifest and the features that a system reads, verified to match it."""

    manifest: Manifest
    transcripts: tuple[str, ...]  # that are read in training, by position
    test_transcripts: tuple[str, ...]  # that are read in the held-out part
    text: FeatureFile | None  # None: not read, or the text encoder is fine-tuned on the transcripts
    test_text: FeatureFile | None  # for the held-out part: the same file, or that of other transcripts
    speech: FeatureFile | None  # None: not read, or frames are computed on the fly
    digests: dict[str, str]  # together they change with any manifest row, transcript, recording or feature


def open_corpus(
    manifest: Manifest, settings: Settings, cache: Path, encoders: Encoders | None, place: str = ""
) -> Corpus:
    """Open the features that a run with these settings reads.

    They must have been computed with `encoders`; None accepts any, for callers that compare the digests. `place` are
    the options by which the commands in messages find the manifest, if it is not the usual one.

    Raises:
        UserError: features are missing, out of date, or from another encoder; the message names the command.
    """
    reads = find_system(settings.system).reads
    digests = {"manifest": manifest.digest}
    if settings.folds not in (*COLUMNS, SPLIT):  # the manifest's digest does not cover it
        values = fold_values(manifest, settings.folds)
        digests["fold_column"] = digest_of_texts(
            f"{u.utterance_id}\0{value}" for u, value in zip(manifest.utterances, values, strict=True)
        )
    read = [_with_source(manifest, settings, source, place) for source in settings.sources]  # training, held-out part
    text: list[FeatureFile | None] = [None, None]
    for number, (prefix, source, spoken) in enumerate(zip(("", "test_"), settings.sources, read, strict=True)):
        if number and source == settings.transcripts:
            text[1] = text[0]
            continue
        if source == ASR:  # CTC reads them, too
            digests[f"{prefix}asr_transcripts"] = digest_of_texts(u.transcript for u in spoken.utterances)
        if "text" in reads:
            texts = required_features.text_inputs(spoken, settings.annotations).digests
            if reads_text_features(settings):
                text[number] = file = _open_text(manifest, settings, source, cache, encoders, texts, place)
                digests[f"{prefix}text_features"] = file.digest(texts)
            else:
                digests[f"{prefix}transcripts"] = digest_of_texts(texts.values())
    speech = None
    if reads_speech_features(settings):
        speech = _open_speech(manifest, settings, cache, encoders, place)
        digests["speech_features"] = speech.digest(u.utterance_id for u in manifest.utterances)
    elif "speech" in reads:
        recordings = required_features.speech_inputs(manifest).digests
        digests["speech_features"] = digest_of_texts(recordings.values())
    transcripts, test_transcripts = (tuple(u.transcript for u in spoken.utterances) for spoken in read)
    return Corpus(manifest, transcripts, test_transcripts, text[0], text[1], speech, digests)


def _with_source(manifest: Manifest, settings: Settings, source: str, place: str) -> Manifest:
    if not reads_words(settings):
        return manifest  # nobody reads its words
    return with_source(manifest, source, settings.asr_model, transcribe_command(settings, place))


def _open_text(
    manifest: Manifest,
    settings: Settings,
    source: str,
    cache: Path,
    encoders: Encoders | None,
    texts: Mapping[str, str],
    place: str,
) -> FeatureFile:
    policy, dtype = settings.annotations, settings.dtype
    path = required_features.text_request(settings, source).path(cache, manifest.path)
    encoder = encoders.text if encoders else None
    identity = required_features.text_identity(encoder, policy, dtype) if encoder else None
    file = open_features(path, identity, texts, extract_command(settings, place))
    return refuse_damaged(file, partial(_row_length, file, settings))


def _open_speech(
    manifest: Manifest, settings: Settings, cache: Path, encoders: Encoders | None, place: str
) -> FeatureFile:
    path = required_features.speech_request(settings).path(cache, manifest.path)
    encoder = encoders.speech if encoders else None
    identity = required_features.speech_identity(encoder, settings.dtype) if encoder else None
    existing = required_features.existing_features(path, identity)
    recordings = required_features.speech_inputs(manifest, existing.known_inputs if existing else None)
    file = open_features(path, identity, recordings.digests, extract_command(settings, place))
    return refuse_damaged(file, partial(_row_length, file, settings))


def _row_length(file: FeatureFile, settings: Settings) -> int | None:
    """Numbers in a row that the encoder gives; None if it is not here any more, or another one."""
    try:
        found = Encoders.of(settings)
    except UserError:
        return None
    encoder = found.text if file.identity.kind == "text" else found.speech
    is_same = encoder is not None and encoder.digest() == file.identity.encoder_digest
    return required_features.row_length(encoder, file.identity.kind) if encoder and is_same else None


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
    speech: Rows | None = None
    text: Rows | None = None
    encoder = getattr(model, "speech", None)
    held_out = set(fold.test)
    pairs = zip(corpus.transcripts, corpus.test_transcripts, strict=True)
    transcripts = [test if position in held_out else read for position, (read, test) in enumerate(pairs)]
    if corpus.speech:
        speech = StoredRows(corpus.manifest, corpus.speech)
    elif encoder is not None:
        speech = ComputedFrames(corpus.manifest, encoder)
    if corpus.text and corpus.test_text:
        text = StoredRows(corpus.manifest, corpus.text)
        if corpus.test_text is not corpus.text:
            text = SplitRows(text, StoredRows(corpus.manifest, corpus.test_text), held_out)
    elif text_encoder and settings.finetune_text:
        text = TokenIds(transcripts, TextTokenizer(text_encoder), settings.annotations)
    rate = encoder.frame_rate if encoder is not None else None
    return Examples(
        corpus.manifest, speech=speech, frame_rate=rate, text=text, alphabet=alphabet, transcripts=transcripts,
        labels=model.labels,
    )  # fmt: skip
