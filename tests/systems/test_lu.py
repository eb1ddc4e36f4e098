"""Rebuilt systems on recurrent layers: packing, and the number of parameters."""

from dataclasses import asdict

import torch
from helpers.plain_attention import plain_attention
from torch import nn

from mmer_pipeline.systems.base import FrozenInput
from mmer_pipeline.systems.published.lu import AsrFeatures
from mmer_pipeline.systems.published.recurrence import BiLSTM

LABELS = ["happy", "angry", "neutral", "sad"]


@torch.no_grad()
def test_a_packed_lstm_is_torch_s_on_each_utterance_alone() -> None:
    torch.manual_seed(0)
    model, values, lengths = BiLSTM(6, 5, layers=2).eval(), torch.randn(3, 9, 6), [4, 9, 1]
    plain = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)
    plain.load_state_dict(model.lstm.state_dict())
    outputs, states = model(values, torch.arange(9) < torch.tensor(lengths)[:, None])
    for row, length in enumerate(lengths):
        expected, (final, _) = plain(values[row : row + 1, :length])
        torch.testing.assert_close(outputs[row, :length], expected[0])
        torch.testing.assert_close(states[row], torch.cat([final[-2, 0], final[-1, 0]]))


@torch.no_grad()
def test_lu_s_model_is_a_plain_composition_of_torch_s_modules() -> None:
    torch.manual_seed(0)
    model = AsrFeatures(labels=LABELS, inputs=[asdict(FrozenInput("speech_states", "time", 12))]).eval()
    attention = plain_attention(model.attention)
    frames = torch.randn(1, 20, 12)
    hidden, _ = model.lstm.lstm(frames)
    expected = model.emotion_head(attention(hidden, hidden, hidden)[0].mean(1))
    found = model(frames, torch.ones(1, 20, dtype=torch.bool)).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_number_of_parameters_on_an_encoder_of_768() -> None:
    model = AsrFeatures(labels=LABELS, inputs=[asdict(FrozenInput("speech_states", "time", 768))])
    lstm = 2 * 4 * (768 * 128 + 128 * 128 + 2 * 128)
    attention = 4 * 256 * 256 + 3 * 256
    assert sum(p.numel() for p in model.parameters()) == lstm + attention + 256 * 4 + 4 == 1_183_492
