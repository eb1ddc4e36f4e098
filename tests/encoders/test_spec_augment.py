"""SpecAugment: where its spans lie, and that they are as many as transformers draws."""

import numpy as np
import pytest
import torch
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from mmer_pipeline.encoders.spec_augment import spans, spec_augment


def mask_of(*lengths):
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize(("probability", "length", "least"), [(0.05, 10, 2), (0.65, 10, 0), (0.3, 4, 1), (0.05, 10, 0)])
def test_each_position_is_hidden_as_often_as_by_transformers(probability, length, least):
    mask = mask_of(120, 60, 23)
    torch.manual_seed(0)
    np.random.seed(0)
    draws = 3000
    ours = torch.stack([spans(mask, probability, length, least) for _ in range(draws)]).float().mean(0).numpy()
    options = {"mask_prob": probability, "mask_length": length, "min_masks": least, "attention_mask": mask.long()}
    theirs = np.mean([_compute_mask_indices(tuple(mask.shape), **options) for _ in range(draws)], axis=0)
    theirs = theirs * mask.numpy()  # it may put a span of an utterance that gets none into the padding
    np.testing.assert_allclose(ours, theirs, atol=5 * np.sqrt(0.25 * 2 / draws))
    np.testing.assert_allclose(ours.sum(1), theirs.sum(1), rtol=0.08)


def test_spans_lie_within_the_real_positions_and_are_whole():
    mask = mask_of(40, 12, 9)
    for _ in range(50):
        hidden = spans(mask, 0.5, 10, 1)
        assert not (hidden & ~mask).any()
        assert not hidden[2].any()  # no span fits
        edges = torch.nn.functional.pad(hidden[0].int(), (1, 1)).diff()
        lengths = (edges == -1).nonzero() - (edges == 1).nonzero()
        assert (lengths >= 10).all()  # where spans overlap they are longer


class Config:
    mask_time_prob, mask_time_length, mask_time_min_masks = 0.3, 5, 1
    mask_feature_prob, mask_feature_length, mask_feature_min_masks = 0.2, 4, 1


def test_frames_get_the_embedding_and_channels_zeros():
    torch.manual_seed(3)
    mask, embedding = mask_of(30, 20), torch.full((16,), 7.0)
    hidden = torch.ones(2, 30, 16)
    changed = spec_augment(hidden, mask, Config(), embedding)
    channels = (changed == 0).all(dim=1)  # [B, d]
    assert channels.any(dim=1).all()
    frames = (changed == 7).any(dim=2)  # [B, J]
    assert frames.any(dim=1).all()
    assert not (frames & ~mask).any()
    kept = changed[~frames[..., None].expand_as(changed) & ~channels[:, None].expand_as(changed)]
    assert (kept == 1).all()


def test_an_encoder_whose_configuration_says_no_is_left_alone():
    class Off(Config):
        apply_spec_augment = False

    hidden = torch.ones(1, 30, 16)
    assert spec_augment(hidden, mask_of(30), Off(), torch.zeros(16)) is hidden
