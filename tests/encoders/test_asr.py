"""ASR models against transformers' own, what they do with silence and long recordings, and real word error rates."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import torch
from helpers.asr_models import RATE, tiny_ctc, tiny_moonshine, tiny_whisper
from helpers.embedded_models import needs
from transformers import (
    AutoTokenizer,
    MoonshineForConditionalGeneration,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from mmer_pipeline import audio
from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.corpora.transcripts import spoken_words
from mmer_pipeline.encoders import asr
from mmer_pipeline.encoders.asr import AsrModel
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.errors import UserError

CPU = torch.device("cpu")


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


# Of different lengths, in no order; the shortest is as short as a model hears.
WAVEFORMS = [noise(samples, seed) for seed, samples in enumerate((16_000, 11_213, 30_000, 1_600, 24_999))]


def load(directory: Path) -> AsrModel:
    return AsrModel(resolve_encoder(str(directory)), CPU)


def whisper_of_transformers(directory: Path) -> Callable[[np.ndarray], str]:
    model: Any = WhisperForConditionalGeneration.from_pretrained(directory).eval()
    processor: Any = WhisperProcessor.from_pretrained(directory)

    def transcribe(waveform: np.ndarray) -> str:
        inputs = processor(waveform, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
        return str(processor.batch_decode(model.generate(**inputs), skip_special_tokens=True)[0])

    return transcribe


def ctc_of_transformers(directory: Path) -> Callable[[np.ndarray], str]:
    model: Any = Wav2Vec2ForCTC.from_pretrained(directory).eval()
    processor: Any = Wav2Vec2Processor.from_pretrained(directory)

    def transcribe(waveform: np.ndarray) -> str:
        inputs = processor(waveform, sampling_rate=RATE, return_tensors="pt")
        return str(processor.batch_decode(model(**inputs).logits.argmax(-1))[0])

    return transcribe


def moonshine_of_transformers(directory: Path) -> Callable[[np.ndarray], str]:
    model: Any = MoonshineForConditionalGeneration.from_pretrained(directory).eval()
    tokens = AutoTokenizer.from_pretrained(directory)

    def transcribe(waveform: np.ndarray) -> str:
        scaled = torch.from_numpy(waveform * np.float32(0.9 / np.abs(waveform).max()))[None]
        limit = max(1, int(6.5 * len(waveform) / RATE))
        return str(tokens.decode(model.generate(scaled, max_new_tokens=limit)[0], skip_special_tokens=True))

    return transcribe


MODELS = {
    "whisper": (tiny_whisper, whisper_of_transformers),
    "wav2vec2": (tiny_ctc, ctc_of_transformers),
    "moonshine": (tiny_moonshine, moonshine_of_transformers),
}


@pytest.fixture(scope="module", params=MODELS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def directory(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a tiny model. Not to be changed."""
    return MODELS[family][0](tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def model(directory: Path) -> AsrModel:
    return load(directory)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> AsrModel:
    return load(tiny_whisper(tmp_path_factory.mktemp("whisper")))


@pytest.fixture(scope="module")
def moonshine(tmp_path_factory: pytest.TempPathFactory) -> AsrModel:
    return load(tiny_moonshine(tmp_path_factory.mktemp("moonshine")))


@torch.no_grad()
def test_texts_are_those_of_transformers_for_each_waveform_alone(family: str, directory: Path, model: AsrModel) -> None:
    theirs = MODELS[family][1](directory)
    expected = [" ".join(theirs(waveform).split()) for waveform in WAVEFORMS]
    assert len(set(expected)) > 3
    assert model.transcribe(WAVEFORMS) == expected


def test_a_text_does_not_depend_on_what_is_in_the_batch(model: AsrModel, monkeypatch: pytest.MonkeyPatch) -> None:
    together = model.transcribe(WAVEFORMS)
    assert [model.transcribe([waveform])[0] for waveform in WAVEFORMS] == together
    assert model.transcribe(WAVEFORMS[::-1]) == together[::-1]
    monkeypatch.setattr(asr, "BATCH_SECONDS", 2.0)
    monkeypatch.setattr(asr, "WINDOWS_PER_BATCH", 2)
    assert model.transcribe(WAVEFORMS) == together


def test_silence_and_what_is_too_short_for_a_word_give_an_empty_text(model: AsrModel) -> None:
    silence = np.zeros(RATE, np.float32)
    empty = np.zeros(0, np.float32)
    texts = model.transcribe([silence, WAVEFORMS[0], noise(1_599), empty])
    assert texts == ["", model.transcribe([WAVEFORMS[0]])[0], "", ""]
    assert model.transcribe([]) == []


def test_a_batch_holds_at_most_its_seconds_padding_included() -> None:
    samples = [round(seconds * RATE) for seconds in (300, 100, 60, 60, 50, 1)]
    batches = asr._batches(range(6), samples)
    assert batches == [[0], [1, 2], [3, 4, 5]]
    assert all(max(samples[i] for i in batch) * len(batch) <= asr.BATCH_SECONDS * RATE for batch in batches[1:])


def test_moonshine_writes_no_more_tokens_than_can_be_spoken(moonshine: AsrModel) -> None:
    """Alone an utterance could repeat itself without end, and beside a longer one as long as that one."""
    texts = moonshine.transcribe([noise(2 * RATE), noise(60 * RATE, 1)])
    assert len(texts[0].split()) <= 13  # 6.5 tokens a second
    assert len(texts[1].split()) > 13


def test_moonshine_does_not_hear_how_loud_a_recording_is(moonshine: AsrModel) -> None:
    assert moonshine.transcribe([0.125 * waveform for waveform in WAVEFORMS]) == moonshine.transcribe(WAVEFORMS)


def test_whisper_hears_what_comes_after_30_seconds(whisper: AsrModel) -> None:
    long = noise(33 * RATE)
    first, second, short = whisper.transcribe([long[: 33 * RATE // 2], long[33 * RATE // 2 :], WAVEFORMS[0]])
    assert whisper.transcribe([WAVEFORMS[0], long]) == [short, f"{first} {second}"]


def test_an_encoder_without_an_asr_head_is_refused(tiny_text: Path, tiny_speech: Path) -> None:
    with pytest.raises(UserError, match=r"type roberta does not turn speech into text\. Expected an ASR model such as"):
        load(tiny_text)
    with pytest.raises(UserError, match="lacks weights of Wav2Vec2ForCTC: lm_head"):
        load(tiny_speech)


def test_a_model_without_its_tokenizer_is_refused(directory: Path, tmp_path: Path) -> None:
    """transformers makes a Whisper tokenizer without words, for which every text is empty."""
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    for name in ("tokenizer.json", "vocab.json"):
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"has no tokenizer\. Expected tokenizer\.json or vocab\.json"):
        load(tmp_path)


def test_a_damaged_tokenizer_is_refused(directory: Path, tmp_path: Path) -> None:
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "tokenizer.json", tmp_path / "vocab.json"):
        if path.is_file():
            path.write_text("{")
    with pytest.raises(UserError, match=r"cannot be used .*Download the model again"):
        load(tmp_path)


def word_error_rate(spoken: dict[Path, str]) -> float:
    """WER of embedded/moonshine-tiny on recordings whose words are known."""
    texts = load_embedded().transcribe([audio.load(path, None, None) for path in spoken])
    return float(jiwer.wer([spoken_words(text) for text in spoken.values()], [spoken_words(text) for text in texts]))


def load_embedded() -> AsrModel:
    needs("embedded/moonshine-tiny")
    return AsrModel(resolve_encoder("embedded/moonshine-tiny"), CPU)


@pytest.mark.real
@pytest.mark.slow
def test_word_error_rate_on_read_speech(shared: Path) -> None:
    folder = shared / "data" / "librispeech60"
    rows = [line.split("\t") for line in (folder / "transcripts.tsv").read_text().splitlines()[1:]]
    assert len(rows) >= 60
    assert word_error_rate({folder / "flac" / f"{name}.flac": text for name, _, text in rows}) <= 0.06  # 4.9 % measured


@pytest.mark.real
@pytest.mark.slow
def test_word_error_rate_on_acted_emotions(shared: Path) -> None:
    corpus = read_corpus("ravdess", shared / "data" / "ravdess4")
    every_third = corpus.utterances[::3]
    spoken = {corpus.root / utterance.audio: utterance.transcript for utterance in every_third}
    assert len(spoken) == 224
    assert word_error_rate(spoken) <= 0.05  # 3.8 % over all 672 utterances
