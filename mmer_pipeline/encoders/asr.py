"""ASR models: any speech-to-text model of transformers, from waveforms to transcripts.

Moonshine's encoder normalises over the whole input, so padding would change its output. Its front end therefore runs
per utterance and only its transformer and its decoder run in batches: a transcript does not depend on its neighbours.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoTokenizer
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CTC_MAPPING_NAMES,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
)

from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.encoders.pretrained import load_pretrained, plain_config, read_config, refusing
from mmer_pipeline.encoders.speech import MOONSHINE, SpeechEncoder
from mmer_pipeline.errors import UserError

BATCH_SECONDS = 240.0  # audio in a batch, padding included; on two cores 1.6 × as fast as 120
WINDOWS_PER_BATCH = 8  # of 30 seconds, of Whisper
MOONSHINE_TOKENS_PER_SECOND = 6.5  # its authors' limit: without one it can repeat itself without end
MOONSHINE_PEAK = 0.9  # level of its input: on quiet recordings it makes fewer errors so (RAVDESS: 3.8 % instead of 4.0)
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")  # files of which a tokenizer has one
SHORTEST_SECONDS = 0.1  # what is shorter contains no word, and no frame for some models


class AsrModel:
    """An ASR model on a device.

    Raises:
        UserError: the checkpoint is not a speech-to-text model, or it cannot be loaded.
    """

    def __init__(self, files: EncoderFiles, device: torch.device) -> None:
        self.files, self.device = files, device
        model_type = read_config(files).model_type
        self._transcribe: Callable[[Sequence[np.ndarray]], list[str]]
        if model_type == MOONSHINE:
            self._load_moonshine()
        elif model_type in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES:
            self._load(AutoModelForSpeechSeq2Seq, self._with_decoder)
        elif model_type in MODEL_FOR_CTC_MAPPING_NAMES:
            self._load(AutoModelForCTC, self._with_ctc)
        else:
            raise UserError(
                f"{files.name}: model type {model_type} does not turn speech into text. Expected an ASR model such as "
                "embedded/moonshine-tiny, openai/whisper-small or facebook/wav2vec2-base-960h."
            )

    @torch.inference_mode()
    def transcribe(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        """Transcribe waveforms at 16 kHz, float32 `[S]` each; returns their texts in order, "" if nothing was heard."""
        texts = [""] * len(waveforms)
        order = sorted(range(len(waveforms)), key=lambda i: -len(waveforms[i]))
        audible = [i for i in order if len(waveforms[i]) >= SHORTEST_SECONDS * SAMPLE_RATE and waveforms[i].any()]
        for part in _batches(audible, [len(waveform) for waveform in waveforms]):
            for i, text in zip(part, self._transcribe([waveforms[i] for i in part]), strict=True):
                texts[i] = " ".join(text.split())
        return texts

    def _load_moonshine(self) -> None:
        from transformers import MoonshineForConditionalGeneration

        model: Any = load_pretrained(MoonshineForConditionalGeneration, self.files, padding_masks=False)
        self.model = model.to(self.device).eval()
        self.processor: Any = _from_directory(AutoTokenizer, self.files)
        self.speech = SpeechEncoder(self.model.model.encoder, plain_config(self.files), zero_mean_unit_variance=False)
        self._transcribe = self._with_moonshine

    def _load(self, loader: Any, transcribe: Callable[[Sequence[np.ndarray]], list[str]]) -> None:
        from transformers import AutoProcessor  # takes a second and a half to import, and Moonshine does without it

        model: Any = load_pretrained(loader, self.files, padding_masks=False)
        self.model = model.to(self.device).eval()
        self.processor = _from_directory(AutoProcessor, self.files)
        self._transcribe = transcribe

    def _with_moonshine(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        from transformers.models.moonshine.modeling_moonshine import MoonshineEncoderModelOutput

        scaled = [torch.from_numpy(w * np.float32(MOONSHINE_PEAK / np.abs(w).max())) for w in waveforms]
        frames = [self.speech.frontend(w[None].to(self.device))[0] for w in scaled]  # [J, front_dim] each
        lengths = torch.tensor([len(row) for row in frames])  # [B]
        padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)  # [B, J, front_dim]
        mask = (torch.arange(padded.shape[1])[None] < lengths[:, None]).to(self.device)  # [B, J]
        hidden = self.speech.context(padded, mask)  # [B, J, d]
        limits = [max(1, int(MOONSHINE_TOKENS_PER_SECOND * len(w) / SAMPLE_RATE)) for w in waveforms]
        begin = torch.full((len(waveforms), 1), self.model.config.decoder_start_token_id, device=self.device)
        ids = self.model.generate(
            encoder_outputs=MoonshineEncoderModelOutput(last_hidden_state=hidden, attention_mask=mask),
            attention_mask=mask,  # otherwise it warns; the mask that counts comes with the encoder's output
            decoder_input_ids=begin,
            decoder_attention_mask=torch.ones_like(begin),
            max_new_tokens=max(limits),
            do_sample=False,
            num_beams=1,
        ).tolist()
        return [
            str(self.processor.decode(row[: 1 + limit], skip_special_tokens=True))
            for row, limit in zip(ids, limits, strict=True)
        ]

    def _with_decoder(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        # Whisper pads everything to 30 seconds and ignores what follows, so longer waveforms are cut into equal parts.
        # Other models transcribe one waveform at a time, without padding.
        window = getattr(self.processor.feature_extractor, "n_samples", None)
        together = WINDOWS_PER_BATCH if window else 1
        parts = [
            (number, part)
            for number, waveform in enumerate(waveforms)
            for part in np.array_split(waveform, math.ceil(len(waveform) / (window or len(waveform))))
        ]
        texts = [""] * len(waveforms)
        for first in range(0, len(parts), together):
            numbers, group = zip(*parts[first : first + together], strict=True)
            inputs = self.processor(
                list(group), sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True
            ).to(self.device)
            ids = self.model.generate(**inputs, do_sample=False, num_beams=1)
            for number, text in zip(numbers, self.processor.batch_decode(ids, skip_special_tokens=True), strict=True):
                texts[number] += f" {text}"
        return texts

    def _with_ctc(self, waveforms: Sequence[np.ndarray]) -> list[str]:
        texts = []
        for waveform in waveforms:  # one at a time: wav2vec2-base's first convolution is normalised over time
            inputs = self.processor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt").to(self.device)
            best = self.model(**inputs).logits.argmax(dim=-1)  # [1, J]
            texts.append(str(self.processor.batch_decode(best)[0]))
        return texts


def _from_directory(loader: Any, files: EncoderFiles) -> Any:
    """Load a tokenizer, or a processor with one."""
    if not any(path for pattern in TOKENIZERS for path in files.directory.glob(pattern)):
        # transformers might create a tokenizer without a vocabulary, which decodes everything to nothing.
        raise UserError(
            f"{files.name}: {files.directory} has no tokenizer. Expected {' or '.join(TOKENIZERS)} in it. "
            "Download the model completely, or use another one."
        )
    with refusing(files, "the tokenizer or feature extractor"):
        return loader.from_pretrained(files.directory, trust_remote_code=False)


def _batches(order: Sequence[int], samples: Sequence[int]) -> list[list[int]]:
    """Split positions, sorted by falling length, into batches within the budget; a longer one forms its own."""
    batches: list[list[int]] = []
    for i in order:
        if not batches or samples[batches[-1][0]] * (len(batches[-1]) + 1) > BATCH_SECONDS * SAMPLE_RATE:
            batches.append([])
        batches[-1].append(i)
    return batches
