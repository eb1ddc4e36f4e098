"""Training examples: the rows (cached or computed on the fly), class and CTC target of each utterance.

Shape letters: B batch, J speech frames, M tokens. Masks: True is a real position.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch

from mmer_pipeline import audio
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import Alphabet, encoder_text, frames_needed
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.encoders.speech import SpeechEncoder
from mmer_pipeline.encoders.text import TextTokenizer
from mmer_pipeline.features.feature_file import FeatureFile, StoredRow
from mmer_pipeline.features.speech_features import count_frames
from mmer_pipeline.training.batches import Batch, pad, vector
from mmer_pipeline.waveform_versions import Version

TOKENS_PER_SECOND = 3.2  # in IEMOCAP's speech; gives the length of an utterance whose speech is not read
# Utterances that are read at once where nothing is trained on them, and their length with padding.
TOGETHER, SECONDS_TOGETHER = 64, 240.0
ROWS_PER_SECOND = 50.0  # of other features; gives the length of an utterance that is read through these alone


class Rows(Protocol):
    """Frames or tokens of every utterance, by its position in the manifest."""

    def row(self, position: int) -> np.ndarray | StoredRow:
        """Features `[length, dim]` or token ids `[length]` of one utterance."""

    def length(self, position: int) -> int:
        """Number of frames or tokens of one utterance, without computing them."""


class StoredRows:
    """Features in the feature cache: `[length, dim]` per utterance."""

    def __init__(self, manifest: Manifest, features: FeatureFile) -> None:
        self.features = features
        self.numbers = [features.index[utterance.utterance_id] for utterance in manifest.utterances]

    def row(self, position: int) -> StoredRow:
        """See `Rows`."""
        return StoredRow(self.features, self.numbers[position])

    def length(self, position: int) -> int:
        """See `Rows`."""
        return self.features.length(self.numbers[position])


class SplitRows:
    """Rows from one source for training and from another for the held-out part, where other transcripts are read."""

    def __init__(self, training: Rows, testing: Rows, held_out: Collection[int]) -> None:
        self.training, self.testing, self.held_out = training, testing, held_out

    def row(self, position: int) -> np.ndarray | StoredRow:
        """See `Rows`."""
        return (self.testing if position in self.held_out else self.training).row(position)

    def length(self, position: int) -> int:
        """See `Rows`."""
        return (self.testing if position in self.held_out else self.training).length(position)


class VersionedRows:
    """Rows of several versions of each utterance, by `Examples`' positions."""

    def __init__(self, versions: Sequence[Rows], utterances: int) -> None:
        self.versions, self.utterances = versions, utterances

    def row(self, position: int) -> np.ndarray | StoredRow:
        """See `Rows`."""
        version, position = divmod(position, self.utterances)
        return self.versions[version].row(position)

    def length(self, position: int) -> int:
        """See `Rows`."""
        version, position = divmod(position, self.utterances)
        return self.versions[version].length(position)


class TokenIds:
    """Token ids of the transcripts, for a text encoder that is fine-tuned: `[M]` per utterance."""

    def __init__(self, transcripts: Sequence[str], tokenizer: TextTokenizer, annotations: str) -> None:
        texts = [encoder_text(transcript, annotations) for transcript in transcripts]
        self.ids = [np.array(ids, dtype=np.int64) for ids in tokenizer(texts)]

    def row(self, position: int) -> np.ndarray:
        """See `Rows`."""
        return self.ids[position]

    def length(self, position: int) -> int:
        """See `Rows`."""
        return len(self.ids[position])


class ComputedFrames:
    """Front-end frames computed from the recording on every use (`--no-speech-features`): `[J, front_dim]` each.

    They are those of a version of the recordings, or of the recordings as they are.
    """

    def __init__(self, manifest: Manifest, encoder: SpeechEncoder, version: Version | None = None) -> None:
        self.manifest, self.encoder, self.version = manifest, encoder, version
        counted = [count_frames(manifest, utterance, encoder) for utterance in manifest.utterances]
        self.counts = [encoder.frame_count(version.samples(n)) if version else frames for n, frames in counted]

    def row(self, position: int) -> np.ndarray:
        """See `Rows`."""
        utterance = self.manifest.utterances[position]
        path = self.manifest.audio_path(utterance)
        waveform = audio.load(path, utterance.start_seconds, utterance.end_seconds)
        waveform = self.version.of(waveform) if self.version else waveform
        frames: np.ndarray = self.encoder.row_arrays(self.encoder.normalise(waveform)[None])[0]
        return frames

    def length(self, position: int) -> int:
        """See `Rows`."""
        return self.counts[position]


class Examples:
    """Inputs, classes and CTC targets of the utterances of a corpus, by their positions in the manifest.

    If there are other versions of their speech, the positions of the first version follow after those of the recordings
    themselves, in the same order, and so on.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        speech: Rows | None,  # None: the system reads no speech
        frame_rate: float | None,  # frames per second of `speech`
        text: Rows | None,  # None: the system reads no text
        alphabet: Alphabet | None,  # None: the system has no CTC head
        transcripts: Sequence[str] | None = None,  # the targets of CTC, by position; None: the manifest's
        labels: Sequence[str] | None = None,  # the classes in the model's order; None: the manifest's
        others: Mapping[str, Rows] | None = None,  # other features, by the names of the model's arguments
        versions: Sequence[Rows] = (),  # other versions of `speech`
    ) -> None:
        self.transcripts = transcripts or [utterance.transcript for utterance in manifest.utterances]
        self.manifest, self.speech, self.text, self.alphabet = manifest, speech, text, alphabet
        self.utterances, self.versions = len(manifest.utterances), 1 + len(versions)
        if speech and versions:
            self.speech = speech = VersionedRows([speech, *versions], self.utterances)
        self.others = dict(others or {})
        classes = {label: number for number, label in enumerate(labels or manifest.labels)}
        self.labels = [classes[str(manifest.label_map.class_of(u.emotion))] for u in manifest.utterances]
        self.labels *= self.versions
        positions = range(len(self.labels))
        self.seconds = [0.0] * len(positions)  # length of each utterance, by which batches are sorted and split
        if speech and frame_rate:
            self.seconds = [speech.length(position) / frame_rate for position in positions]
        elif text or self.others:
            rates: list[tuple[Rows, float]] = [(rows, ROWS_PER_SECOND) for rows in self.others.values()]
            rates += [(text, TOKENS_PER_SECOND)] if text else []
            self.seconds = [max(rows.length(position) / rate for rows, rate in rates) for position in positions]
        self.targets = [self._target(position) for position in positions]
        # Number of utterances that do not contribute to the CTC loss.
        self.without_target = sum(not target for target in self.targets[: self.utterances]) if alphabet else 0

    def _target(self, position: int) -> tuple[int, ...]:
        if not self.alphabet or not self.speech:
            return ()
        target = self.alphabet.encode(self.transcripts[position % self.utterances])
        return tuple(target) if frames_needed(target) <= self.speech.length(position) else ()

    def utterance(self, position: int) -> Utterance:
        """The utterance of a position."""
        return self.manifest.utterances[position % self.utterances]

    def all_versions(self, positions: Sequence[int]) -> list[int]:
        """The positions of all versions of these utterances."""
        return [number * self.utterances + position for number in range(self.versions) for position in positions]

    def draw(self, positions: Sequence[int], seed: int) -> list[int]:
        """The positions of these utterances in versions drawn at random; all are equally likely."""
        if self.versions == 1:
            return list(positions)
        drawn = np.random.default_rng(seed).integers(self.versions, size=len(positions)).tolist()
        return [number * self.utterances + position for number, position in zip(drawn, positions, strict=True)]

    def reference(self, position: int) -> str:
        """The gold transcript of an utterance as CTC spells it, to count word errors; empty without a CTC head."""
        return self.alphabet.words(self.manifest.utterances[position].transcript) if self.alphabet else ""

    def truth_and_groups(self, positions: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        """The classes `[n]` and the speakers of these utterances."""
        truth = np.array([self.labels[position] for position in positions], dtype=np.int64)
        return truth, [self.manifest.utterances[position].speaker for position in positions]

    def batches(self, positions: Sequence[int]) -> Iterator[Batch]:
        """Batches of these utterances, in their order, in float32."""
        together: list[int] = []
        for position in positions:
            longest = max(self.seconds[other] for other in (*together, position))
            if together and (len(together) == TOGETHER or longest * (len(together) + 1) > SECONDS_TOGETHER):
                yield self.batch(together).to(torch.device("cpu"))
                together = []
            together.append(position)
        if together:
            yield self.batch(together).to(torch.device("cpu"))

    def batch(self, positions: Sequence[int], *, pin: bool = False) -> Batch:
        """Pad the utterances at these positions into one batch, with features in their stored number format.

        With `pin`, the batch is in pinned memory, from which a GPU can copy asynchronously.
        """
        inputs = {}
        numbers = [position % self.utterances for position in positions]  # in the manifest
        frame_counts: tuple[int, ...] = ()
        if self.speech:
            frames = [self.speech.row(position) for position in positions]
            inputs["frames"], inputs["frame_mask"] = pad(frames, pin)
            frame_counts = tuple(map(len, frames))
        if self.text:
            inputs["tokens"], inputs["token_mask"] = pad([self.text.row(number) for number in numbers], pin)
        for name, rows in self.others.items():
            inputs[name], inputs[f"{name}_mask"] = pad([rows.row(number) for number in numbers], pin)
        targets = [self.targets[position] for position in positions]
        return Batch(
            positions=tuple(positions),
            inputs=inputs,
            labels=vector([self.labels[position] for position in positions], pin),
            frame_counts=frame_counts,
            symbols=vector([symbol for target in targets for symbol in target], pin),
            symbol_counts=tuple(map(len, targets)),
        )
