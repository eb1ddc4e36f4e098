"""Makiuchi et al.: segments, the speech part and the text part, against plain compositions and cases by hand."""

import re
from dataclasses import asdict

import pytest
import torch
from helpers.command_line import fail, succeed
from torch import Tensor, nn
from torch.nn import functional

from mmer_pipeline.systems.base import FrozenInput
from mmer_pipeline.systems.published.makiuchi import MakiuchiSpeech, MakiuchiText, WeightedMean
from mmer_pipeline.systems.published.segments import Segments

LABELS = ["happy", "angry", "neutral", "sad"]
STATES = asdict(FrozenInput("speech_states", "time", 3 * 6))
SPEAKER = asdict(FrozenInput("resemblyzer", "vector", 4))


def mask_of(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_consecutive_segments_cover_each_utterance_and_the_last_one_ends_with_it() -> None:
    segments = Segments.all(mask_of(10, 4, 3, 8), 4)
    assert segments.utterances.tolist() == [0, 0, 0, 1, 2, 3, 3]
    assert segments.starts.tolist() == [0, 4, 6, 0, 0, 0, 4]
    values = torch.arange(40.0).reshape(4, 10, 1) + 1
    cut = segments.of(values)[..., 0]
    assert cut[2].tolist() == [7.0, 8.0, 9.0, 10.0]
    assert cut[4].tolist() == [21.0, 22.0, 23.0, 0.0]  # what is not there is zero, whatever the padding is


def test_random_segments_are_within_their_utterances_and_reach_both_ends() -> None:
    torch.manual_seed(0)
    mask = mask_of(*[6] * 300, 3)
    segments = Segments.random(mask, 4)
    assert set(segments.starts[:300].tolist()) == {0, 1, 2}
    assert segments.starts[300] == 0
    cut = segments.of(mask.float().unsqueeze(-1))[..., 0]
    assert cut[:300].all()
    assert cut[300].tolist() == [1.0, 1.0, 1.0, 0.0]


def test_posteriors_of_segments_are_averaged_for_each_utterance() -> None:
    segments = Segments.all(mask_of(8, 4), 4)
    logits = torch.log(torch.tensor([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]]))
    expected = torch.log(torch.tensor([[0.4, 0.6], [0.5, 0.5]]))
    torch.testing.assert_close(segments.mean_posteriors(logits), expected)


def test_layers_are_averaged_with_weights_that_begin_alike() -> None:
    layers = torch.randn(2, 5, 3, 6)
    mean = WeightedMean(3)
    torch.testing.assert_close(mean(layers), layers.mean(dim=2))
    mean.weights.data = torch.tensor([1.0, 2.0, 5.0])
    expected = (layers[..., 0, :] + 2 * layers[..., 1, :] + 5 * layers[..., 2, :]) / 8
    torch.testing.assert_close(mean(layers), expected)


@torch.no_grad()
def test_the_speech_part_is_the_mean_over_segments_of_a_plain_composition() -> None:
    torch.manual_seed(0)
    model = MakiuchiSpeech(labels=LABELS, inputs=[STATES, SPEAKER], hidden_size=6, width=10).eval()
    lengths = [200, 50]
    states, mask, speakers = torch.randn(2, 200, 18), mask_of(*lengths), torch.randn(2, 1, 4)
    found = model(speech_states=states, speech_states_mask=mask, resemblyzer=speakers,
                  resemblyzer_mask=torch.ones(2, 1, dtype=torch.bool)).logits  # fmt: skip
    for row, starts in enumerate([[0, 96, 104], [0]]):
        posteriors = []
        for start in starts:
            frames = states[row, start : min(start + 96, lengths[row])]
            mean = (frames[:, :6] + frames[:, 6:12] + frames[:, 12:]) / 3
            both = torch.cat([mean, speakers[row].expand(len(frames), -1)], dim=1)
            values = functional.pad(both, (0, 0, 0, 96 - len(frames))).T[None]  # [1, d, T]
            for layer in model.encoder.convolutions:
                values = layer(values)
            hidden = model.encoder.lstm(values.transpose(1, 2))[0][0]  # [T, 16]
            kept = [hidden[47, :8], hidden[0, 8:], hidden[95, :8], hidden[48, 8:]]
            posteriors.append(model.classifier(torch.cat(kept)).softmax(-1))
        torch.testing.assert_close(found[row], torch.stack(posteriors).mean(0).log(), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_text_part_reads_the_words_between_the_special_tokens_of_122_positions() -> None:
    torch.manual_seed(0)
    model = MakiuchiText(labels=LABELS, text_dim=7).eval()
    tokens = torch.randn(3, 200, 7)
    lengths = [12, 2, 200]  # the second one has no words, the third one more than fit
    found = model(tokens, mask_of(*lengths)).logits
    convolutions = [layer for layer in model.convolutions if isinstance(layer, nn.Conv1d)]
    for row, length in enumerate(lengths):
        words = tokens[row, 1 : min(length - 1, 123)]
        values = functional.pad(words, (0, 0, 0, 122 - len(words))).T
        for layer in convolutions:
            values = functional.conv1d(functional.pad(values, (1, 1)), layer.weight, layer.bias).relu()
        assert values.shape == (64, 120)
        expected = torch.sigmoid(model.emotion_head(values.mean(dim=1)))
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)


def test_both_parts_have_the_documented_number_of_parameters() -> None:
    """At the publication's sizes: wav2vec2-large, Resemblyzer, BERT-large."""
    inputs = [
        asdict(FrozenInput("speech_states", "time", 25 * 1024)),
        asdict(FrozenInput("resemblyzer", "vector", 256)),
    ]
    with torch.device("meta"):
        speech = MakiuchiSpeech(labels=LABELS, inputs=inputs, hidden_size=1024)
        text = MakiuchiText(labels=LABELS, text_dim=1024)
    convolutions = 2048 * 5 * (1280 + 2 * 2048) + 3 * 3 * 2048
    lstm = 2 * 4 * 8 * (2048 + 8 + 2) + 2 * 4 * 8 * (16 + 8 + 2)
    classifier = 33 * 128 + 129 * 128 + 129 * 4
    assert sum(p.numel() for p in speech.parameters()) == 25 + convolutions + lstm + classifier == 55_223_325
    expected = 1025 * 256 + 257 * 256 + (256 * 8 + 1) * 128 + (128 * 4 + 1) * 64 + 65 * 4
    assert sum(p.numel() for p in text.parameters()) == expected == 623_556


@pytest.mark.parametrize(
    ("inputs", "found"), [("log-mel", r"log_mel \(time\)"), ("speech-layers", r"speech_layers \(layers\)")]
)
def test_inputs_of_another_kind_are_refused(inputs: str, found: str, manifest: object, encoders: list[str]) -> None:

    words = ["--system", "makiuchi-speech", "--inputs", inputs, *encoders]
    succeed("extract", *words)
    said = fail("train", *words, "--fold", "1")
    assert re.search(rf"--inputs: makiuchi-speech reads speech-states.*found {found}", said)
