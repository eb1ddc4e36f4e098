"""Features of transcripts: a text encoder's tokens, and statistics of each of its layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mmer_pipeline import paths
from mmer_pipeline.corpora.asr_transcripts import with_source
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import ASR, GOLD, encoder_text
from mmer_pipeline.digests import digest_of
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.features.feature import DEVIATION, FIRST, LAYERS, MEAN, Feature, Inputs, Planned, Shape
from mmer_pipeline.features.feature_file import FeatureIdentity
from mmer_pipeline.settings import Settings

if TYPE_CHECKING:  # torch
    from mmer_pipeline.features.extractors import Extractor

LAST_HIDDEN_STATE = "last_hidden_state"


@dataclass(frozen=True)
class TextItem:
    """One text to encode."""

    number: int  # in the plan
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class TextFeature(Feature):
    """The base of the features of transcripts, after the annotation policy has been applied to them."""

    modality: ClassVar[str] = "text"
    layer: ClassVar[str] = LAST_HIDDEN_STATE  # in the identity

    annotations: str = "strip"  # annotation policy
    transcripts: str = GOLD  # their source
    asr_model: str = ""  # of automatic transcripts

    @classmethod
    def of(cls, name: str, settings: Settings, source: str = GOLD) -> Self:
        """See `Feature`."""
        encoder = settings.text_encoder, settings.text_revision
        asr_model = settings.asr_model if source == ASR else ""
        return cls(name, *encoder, settings.dtype, settings.annotations, source, asr_model)

    @property
    def parts(self) -> tuple[str, ...]:
        """See `Feature`."""
        slugs = {GOLD: "", ASR: f"asr-{paths.encoder_slug(self.asr_model)}"}
        source = slugs.get(self.transcripts, self.transcripts)
        return (self.annotations, source) if source else (self.annotations,)

    def identity(self, files: EncoderFiles | None) -> FeatureIdentity:
        """See `Feature`."""
        assert files is not None
        revision, digest = files.revision or "", files.digest()
        return FeatureIdentity(self.kind, files.name, revision, digest, self.layer, self.annotations, self.dtype)

    def corpus(self, manifest: Manifest) -> Manifest:
        """See `Feature`."""
        return with_source(manifest, self.transcripts, self.asr_model)

    def inputs(self, corpus: Manifest, known: Mapping[str, tuple[str, str]] | None = None) -> Inputs:  # noqa: ARG002
        """See `Feature`: each transcript after applying the annotation policy."""
        return text_inputs(corpus, self.annotations)

    def plan(self, corpus: Manifest, files: EncoderFiles | None) -> list[Planned]:
        """See `Feature`."""
        from mmer_pipeline.encoders.text import TextTokenizer

        assert files is not None
        shape = self.shape(files)
        texts = [encoder_text(u.transcript, self.annotations) for u in corpus.utterances]
        return [
            Planned(shape.layers or len(ids), TextItem(number, tuple(ids)))
            for number, ids in enumerate(TextTokenizer(files)(texts))
        ]

    def batches(self, items: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """See `Feature`."""
        from mmer_pipeline.features.workers import text_batches

        return text_batches(items)


@dataclass(frozen=True)
class Tokens(TextFeature):
    """The text encoder's last hidden state: `[tokens, d_t]`, special tokens included (paper, section 3.2.2)."""

    kind: ClassVar[str] = "text"
    title: ClassVar[str] = "Text features"

    def shape(self, files: EncoderFiles | None) -> Shape:
        """See `Feature`."""
        from mmer_pipeline.encoders.text import hidden_size

        assert files is not None
        return Shape(hidden_size(files))

    def extractor(self, files: EncoderFiles | None, device: str) -> "Extractor":
        """See `Feature`."""
        from mmer_pipeline.features.extractors import TokenExtractor

        assert files is not None
        return TokenExtractor(files, device)


@dataclass(frozen=True)
class TextLayers(TextFeature):
    """Statistics of every hidden state of a text encoder: `[layers + 1, 3 · d_t]`.

    Those of layer 0 are of the embeddings. They are the mean and the standard deviation over tokens, special tokens
    included, and the first token, which BERT and RoBERTa are pretrained to make a summary of.
    """

    kind: ClassVar[str] = "text-layers"
    layer: ClassVar[str] = "all; mean, standard deviation and first token"

    def shape(self, files: EncoderFiles | None) -> Shape:
        """See `Feature`."""
        from mmer_pipeline.encoders.text import hidden_size, layer_count

        assert files is not None
        return Shape(3 * hidden_size(files), LAYERS, layer_count(files) + 1, (MEAN, DEVIATION, FIRST))

    def extractor(self, files: EncoderFiles | None, device: str) -> "Extractor":
        """See `Feature`."""
        from mmer_pipeline.features.extractors import TextLayerExtractor

        assert files is not None
        return TextLayerExtractor(files, device)


def text_inputs(manifest: Manifest, annotations: str) -> Inputs:
    """Inputs of the features of text: each transcript after applying the annotation policy."""
    texts = {u.utterance_id: encoder_text(u.transcript, annotations) for u in manifest.utterances}
    return Inputs({utterance_id: digest_of(text.encode()) for utterance_id, text in texts.items()}, {})
