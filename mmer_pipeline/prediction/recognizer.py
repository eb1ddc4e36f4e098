"""EmotionRecognizer: a trained model as one object, from recordings to emotions.

Shape letters: B batch, S samples, J frames, M tokens, C classes.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmer_pipeline import audio as recordings
from mmer_pipeline import paths
from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.corpora.preparation import MAX_AUDIO_SECONDS
from mmer_pipeline.corpora.transcripts import ASR, GOLD, NONE, Alphabet, encoder_text
from mmer_pipeline.digests import digest_of_facts
from mmer_pipeline.encoders.asr import AsrModel
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import SpeechEncoder
from mmer_pipeline.encoders.text import TextEncoder, TextTokenizer
from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction.frozen_inputs import FrozenInputs
from mmer_pipeline.prediction.results import GIVEN, Explanation, Prediction, Word
from mmer_pipeline.prediction.segmentation import speech_segments
from mmer_pipeline.prediction.trained_model import TrainedModel, find_model
from mmer_pipeline.prediction.waveforms import Audio, as_waveform
from mmer_pipeline.systems.registry import read_features
from mmer_pipeline.training import memory_budget
from mmer_pipeline.training.batches import micro_batches
from mmer_pipeline.training.build_model import load_model
from mmer_pipeline.training.inference import GPU_SECONDS, decode
from mmer_pipeline.training.mixed_precision import make_accelerator

SILENCE = 1e-3  # largest sample of a silent recording: −60 dB
TOKENS_PER_BATCH = 1024
_MASKS = {"frames": "frame_mask", "tokens": "token_mask"}  # of other inputs, the name of the mask follows from theirs
UTTERANCES_PER_CALL = 64  # of a long recording, whose samples need not all be in memory


class EmotionRecognizer:
    """Recognises the emotion of utterances with a trained model; it writes no files.

    Threads can share one: calls wait for each other.
    """

    def __init__(
        self,
        model: TrainedModel,
        *,
        device: str = "auto",
        transcripts: str | None = None,
        asr_model: str | None = None,
        asr_revision: str | None = None,
    ) -> None:
        """Load a model; the ASR model is loaded when it is first needed.

        Args:
            model: see `trained_model.find_model`; `from_pretrained` is the short way.
            device: "auto", "cpu", "cuda", "cuda:1" …
            transcripts: "gold" uses only given transcripts, "asr" only automatic ones, "none" no words at all. None:
                the given one, or an automatic one if there is none; no words if the model was trained without.
            asr_model: name or directory of the ASR model; None: the model's own choice.
            asr_revision: commit, tag or branch of the ASR model on the hub; None: the model's own choice, if it is its
                ASR model.

        Raises:
            UserError: an encoder is not available or has changed, or there is no such device.
        """
        settings = model.settings
        self.model, self.transcripts = model, transcripts or (NONE if settings.transcripts == NONE else None)
        self.labels = model.labels
        # As `evaluate` does. The accelerator itself is not kept: the next one in this process changes its state.
        accelerator, self.precision = make_accelerator(device, "auto" if settings.precision == "bf16" else "fp32")
        self.device = accelerator.device
        self._asr_name = asr_model or settings.asr_model
        self._asr_revision = asr_revision or (None if asr_model else settings.asr_revision)
        self._asr: AsrModel | None = None
        self._members: list[Any] = [
            load_model(member.directory, settings.system, labels=model.labels).to(self.device)
            for member in model.members
        ]
        self._speech: SpeechEncoder | None = getattr(self._members[0], "speech", None) if model.reads_speech else None
        self._tokenizer: TextTokenizer | None = None
        self._text: TextEncoder | None = None
        if model.text is not None:
            files = model.text.files()
            self._tokenizer = TextTokenizer(files)
            self._text = TextEncoder(files, self.device) if "text" in read_features(settings) else None
        self._frozen = FrozenInputs(model, str(self.device))
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None, **options: Any) -> "EmotionRecognizer":
        """Load a packed model from a directory or the hub, or the model of a run; `options` are those of `__init__`.

        Raises:
            UserError: there is no such model, or it cannot be loaded.
        """
        return cls(find_model(str(name), paths.runs_dir(), revision=revision), **options)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload the packed model that this was loaded from; returns its address.

        Raises:
            UserError: it was not loaded from a packed model.
        """
        from mmer_pipeline.prediction.packing import push

        return push(self.model, repo_id, private=private, token=token)

    @overload
    def __call__(
        self, audio: Audio, sample_rate_hz: int | None = None, *, transcript: str | None = None, explain: bool = False
    ) -> Prediction: ...

    @overload
    def __call__(
        self, audio: list[Any], sample_rate_hz: int | None = None, *, explain: bool = False
    ) -> list[Prediction]: ...

    def __call__(
        self,
        audio: Audio | list[Any],
        sample_rate_hz: int | None = None,
        *,
        transcript: str | None = None,
        explain: bool = False,
    ) -> Prediction | list[Prediction]:
        """Recognise the emotion of an utterance, or of each utterance in a list.

        Args:
            audio: a file's path or its bytes, or samples: floats or 16-bit integers `[S]`, or `[S, channels]`; or a
                list of these.
            sample_rate_hz: of samples; files say theirs.
            transcript: what is said, if it is known; only of a single utterance.
            explain: also say how the model combined words and speech.

        Raises:
            AudioError: a recording cannot be used.
            UserError: a transcript is missing, or a recording is silent or too short; `audio` is something else.
        """
        if not isinstance(audio, (list, tuple)):
            waveform = as_waveform(audio, sample_rate_hz)
            return self.predict([waveform], [transcript], explain=explain)[0]
        if transcript is not None:
            raise UserError("A list needs a list of transcripts: recognizer.predict(waveforms, transcripts).")
        return self.predict([as_waveform(one, sample_rate_hz) for one in audio], explain=explain)

    def utterances(self, path: str | Path) -> list[Prediction]:
        """Cut a long recording at its pauses and recognise the emotion of each utterance, with its times.

        Raises:
            AudioError: the recording cannot be read.
        """
        segments = speech_segments(Path(path))
        predictions: list[Prediction] = []
        for first in range(0, len(segments), UTTERANCES_PER_CALL):
            part = [(s.start_seconds, s.end_seconds) for s in segments[first : first + UTTERANCES_PER_CALL]]
            found = self.predict([recordings.load(Path(path), start, end) for start, end in part])
            pairs = zip(found, part, strict=True)
            predictions += [replace(p, start_seconds=start, end_seconds=end) for p, (start, end) in pairs]
        return predictions

    def predict(
        self,
        waveforms: Sequence[npt.NDArray[np.float32]],
        transcripts: Sequence[str | None] | None = None,
        *,
        explain: bool = False,
    ) -> list[Prediction]:
        """Recognise the emotions of waveforms at 16 kHz, float32 `[S]` each, in batches of similar length.

        Raises:
            UserError: a transcript is missing (only with "gold"), or a waveform is silent, too short or not finite; the
                model's output is not a number.
        """
        transcripts = [None] * len(waveforms) if transcripts is None else transcripts
        for waveform, transcript in zip(waveforms, transcripts, strict=True):
            self.check(waveform, transcript)
        with self._lock, torch.inference_mode():
            words = self._words(waveforms, transcripts)
            inputs = self._inputs(waveforms, [text for text, _ in words])
            predictions: list[Prediction] = []
            for (text, source), (probabilities, ctc, gate) in zip(words, self._outputs(waveforms, inputs), strict=True):
                by_label = dict(zip(self.labels, probabilities, strict=True))
                label = max(by_label, key=by_label.__getitem__)
                predictions.append(Prediction(label, by_label, text, source, ctc, gate))
            if explain:
                predictions = [
                    replace(prediction, explanation=self._explanation(row, prediction))
                    for row, prediction in zip(inputs, predictions, strict=True)
                ]
        return predictions

    def __repr__(self) -> str:
        return f"EmotionRecognizer({self.model.name!r}, labels={self.labels}, device={str(self.device)!r})"

    def check(self, waveform: npt.NDArray[np.float32], transcript: str | None) -> None:
        """Check that an utterance can be classified.

        Raises:
            UserError: it is silent, too short or too long, or not finite; its transcript is missing (with "gold").
        """
        shortest = self._speech.receptive_field_samples if self._speech else self._frozen.fewest_samples
        if len(waveform) < shortest:
            raise UserError(
                f"The recording is too short: expected at least {shortest / SAMPLE_RATE:.3f} s, found "
                f"{len(waveform) / SAMPLE_RATE:.3f} s."
            )
        if len(waveform) > MAX_AUDIO_SECONDS * SAMPLE_RATE:
            raise UserError(
                f"The recording is {len(waveform) / SAMPLE_RATE:.0f} s long, too long for one utterance (at most "
                f"{MAX_AUDIO_SECONDS:g} s). Cut it at its pauses: `recognizer.utterances(path)`."
            )
        peak = np.abs(waveform).max()
        if not np.isfinite(peak):
            raise UserError("The recording contains values that are not numbers (NaN or infinity).")
        if peak < SILENCE:
            raise UserError("The recording is silent: no sample is louder than −60 dB. Check the recording.")
        if self.transcripts == GOLD and self.model.reads_text and transcript is None:
            raise UserError(
                "The recording has no transcript, and only given ones may be used (gold). Give it, or allow asr."
            )

    def identity(self, **options: Any) -> str:
        """Digest everything that a prediction depends on, and the caller's options: 16 hex digits."""
        asr = None
        if self.model.reads_text and self.transcripts not in (GOLD, NONE):
            with suppress(UserError):  # without the ASR model, only given transcripts can be used
                asr = resolve_encoder(self._asr_name, self._asr_revision).digest()
        facts = {"model": self.model.digest, "transcripts": self.transcripts, "asr": asr, "precision": self.precision}
        return digest_of_facts({**facts, **options})

    def _words(self, waveforms: Sequence[np.ndarray], transcripts: Sequence[str | None]) -> list[tuple[str, str]]:
        """The transcript of each utterance, and its source."""
        if not self.model.reads_text or self.transcripts == NONE:
            return [("", NONE)] * len(waveforms)
        words = [("", ASR) if self.transcripts == ASR or text is None else (text, GIVEN) for text in transcripts]
        unknown = [i for i, (_, source) in enumerate(words) if source == ASR]
        if unknown:
            heard = self._asr_model().transcribe([waveforms[i] for i in unknown])
            for i, text in zip(unknown, heard, strict=True):
                words[i] = (text, ASR)
        return words

    def _asr_model(self) -> AsrModel:
        if self._asr is None:
            self._asr = AsrModel(resolve_encoder(self._asr_name, self._asr_revision), self.device)
        return self._asr

    def _inputs(self, waveforms: Sequence[np.ndarray], texts: Sequence[str]) -> list[dict[str, Tensor]]:
        """The system's inputs for each utterance: frames `[J, front_dim]`, and tokens `[M, d_t]` or ids `[M]`."""
        inputs: list[dict[str, Tensor]] = [{} for _ in waveforms]
        if self._speech is not None:
            for row, waveform in zip(inputs, waveforms, strict=True):
                samples = torch.from_numpy(self._speech.normalise(waveform))[None].to(self.device)  # [1, S]
                frames = self._speech.rows(samples)[0].float()
                row["frames"] = self._as_stored(frames) if self.model.settings.speech_features else frames
        ids: list[list[int]] = [[] for _ in waveforms]
        if self._tokenizer is not None:
            ids = self._tokenizer([encoder_text(text, self.model.settings.annotations) for text in texts])
            if self.model.settings.finetune_text:
                for row, tokens in zip(inputs, ids, strict=True):
                    row["tokens"] = torch.tensor(tokens, device=self.device)
            elif self._text is not None:
                for part in micro_batches(range(len(ids)), [float(len(tokens)) for tokens in ids], TOKENS_PER_BATCH):
                    hidden = self._text.hidden_states([ids[i] for i in part])  # [B, M, d_t]
                    for i, values in zip(part, hidden, strict=True):
                        inputs[i]["tokens"] = self._as_stored(values[: len(ids[i])])
        for row, waveform, tokens in zip(inputs, waveforms, ids, strict=True):
            row.update(self._frozen.of(waveform, tokens))
        return inputs

    def _as_stored(self, values: Tensor) -> Tensor:
        """Round features as the feature cache does, so that a prediction is the same as that of `evaluate`."""
        return values.half().float() if self.model.settings.dtype == "float16" else values

    def _outputs(
        self, waveforms: Sequence[np.ndarray], inputs: Sequence[Mapping[str, Tensor]]
    ) -> list[tuple[list[float], str, float | None]]:
        """Probabilities, CTC transcript and mean gate of each utterance."""
        outputs: list[tuple[list[float], str, float | None]] = [([], "", None)] * len(inputs)
        seconds = [len(waveform) / SAMPLE_RATE for waveform in waveforms]
        budget = GPU_SECONDS if self.device.type == "cuda" else memory_budget.CPU_SECONDS
        for part in micro_batches(range(len(inputs)), seconds, budget):
            for i, output in zip(part, self._batch([inputs[i] for i in part]), strict=True):
                outputs[i] = output
        return outputs

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _batch(self, rows: Sequence[Mapping[str, Tensor]]) -> Iterable[tuple[list[float], str, float | None]]:
        batch = _padded(rows)
        counts = [len(row["frames"]) for row in rows] if "frames" in rows[0] else []
        with self._autocast():
            outputs = [member(**batch) for member in self._members]
        probabilities = torch.stack([output.logits.double().softmax(dim=-1) for output in outputs]).mean(
            dim=0
        )  # [B, C]
        if not probabilities.isfinite().all():
            raise UserError("The model's output is not a number. Check its weights, or train it again.")
        symbols = self._members[0].alphabet
        heard = decode(outputs[0], counts, Alphabet(tuple(symbols)) if symbols else None)
        gates: list[float | None] = [None] * len(rows)
        if outputs[0].gate is not None:
            gates = torch.stack([output.gate.double() for output in outputs]).mean(dim=0).tolist()
        return zip(probabilities.cpu().tolist(), heard, gates, strict=True)

    def _explanation(self, row: Mapping[str, Tensor], prediction: Prediction) -> Explanation | None:
        """How the model combined words and speech, averaged over the members of an ensemble."""
        with self._autocast():
            views = [member.view(**_padded([row])) for member in self._members]
        if views[0] is None or self._tokenizer is None or self._speech is None:
            return None
        attention = torch.stack([view.attention[0].double() for view in views]).mean(dim=0).cpu().numpy()  # [M, J]
        gate = None
        if views[0].gate is not None:
            gate = torch.stack([view.gate[0].double() for view in views]).mean(dim=0).cpu().numpy()  # [M]
        text = encoder_text(prediction.transcript, self.model.settings.annotations)
        words = []
        for word, tokens in self._tokenizer.words(text):
            weights = attention[tokens].mean(axis=0)
            own = None if gate is None else float(gate[tokens].mean())
            words.append(Word(word, own, tuple(map(float, weights))))
        step, middle = self._speech.samples_per_frame, self._speech.receptive_field_samples / 2
        times = tuple((frame * step + middle) / SAMPLE_RATE for frame in range(attention.shape[1]))
        return Explanation(tuple(words), times, prediction.gate)


def _padded(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A batch with masks from the inputs of several utterances."""
    batch = {}
    for name in rows[0]:
        mask = _MASKS.get(name, f"{name}_mask")
        values = [row[name] for row in rows]
        batch[name] = pad_sequence(values, batch_first=True)
        lengths = torch.tensor([len(value) for value in values], device=batch[name].device)
        batch[mask] = torch.arange(batch[name].shape[1], device=lengths.device)[None] < lengths[:, None]
    return batch
