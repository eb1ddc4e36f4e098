"""The encoder adapter against transformers' own modules, and against real checkpoints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor
from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder

from mmer_pipeline import audio
from mmer_pipeline.demo.encoders import SPEECH_FAMILIES, tiny_speech_encoder
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import SpeechEncoder, load_speech_encoder, speech_outline

CPU = torch.device("cpu")
SAMPLES = (16_000, 11_213, 5_000)  # of three utterances; the first is the longest

STABLE: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
VARIANTS = [
    ("wav2vec2", {}),
    ("wav2vec2", STABLE),
    ("hubert", {}),
    ("hubert", STABLE),
    ("wavlm", {}),
    ("wavlm", STABLE),
    ("unispeech-sat", {}),
    ("unispeech-sat", STABLE),
    ("data2vec-audio", {}),
    ("moonshine", {}),
]
NAMES = [f"{family}-{'stable' if sizes else 'plain'}" for family, sizes in VARIANTS]


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def load(directory: Path) -> SpeechEncoder:
    return load_speech_encoder(resolve_encoder(str(directory))).eval()


def reference(directory: Path) -> Any:
    """transformers' own model of a checkpoint, loaded without any code of ours."""
    model = AutoModel.from_pretrained(directory).eval()
    return model.encoder if model.config.model_type == "moonshine" else model


@pytest.fixture(scope="module", params=VARIANTS, ids=NAMES)
def variant(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[SpeechEncoder, Any]:
    """Our adapter and transformers' model of one checkpoint."""
    family, sizes = request.param
    directory = tiny_speech_encoder(tmp_path_factory.mktemp("variant"), family, seed=1, **sizes)
    return load(directory), reference(directory)


@torch.no_grad()
def test_a_whole_waveform_gives_what_transformers_gives(variant: tuple[SpeechEncoder, Any]) -> None:
    ours, theirs = variant
    for seed, samples in enumerate(SAMPLES):
        waveform = torch.from_numpy(noise(samples, seed))[None]
        frames = ours.frontend(waveform)
        hidden = ours.context(frames, torch.ones(frames.shape[:2], dtype=torch.bool))
        expected = theirs(waveform).last_hidden_state
        assert hidden.shape == expected.shape == (1, ours.frame_count(samples), ours.hidden_size)
        torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)


def assert_padding_changes_nothing(ours: SpeechEncoder, theirs: Any) -> None:
    """A padded batch gives what transformers gives for each utterance alone."""
    waveforms = [torch.from_numpy(noise(samples, seed))[None] for seed, samples in enumerate(SAMPLES)]
    frames = [ours.frontend(waveform)[0] for waveform in waveforms]
    padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
    mask = torch.arange(padded.shape[1]) < torch.tensor([len(rows) for rows in frames])[:, None]
    hidden = ours.context(padded, mask)
    for row, waveform in enumerate(waveforms):
        expected = theirs(waveform).last_hidden_state[0]
        torch.testing.assert_close(hidden[row, : len(expected)], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_padded_batch_gives_what_transformers_gives_for_each_utterance_alone(
    variant: tuple[SpeechEncoder, Any],
) -> None:
    ours, theirs = variant
    assert_padding_changes_nothing(ours, theirs)


@torch.no_grad()
def test_hidden_states_are_those_of_transformers_padded_and_alone(variant: tuple[SpeechEncoder, Any]) -> None:
    ours, theirs = variant
    waveforms = [torch.from_numpy(noise(samples, seed))[None] for seed, samples in enumerate(SAMPLES)]
    frames = [ours.frontend(waveform)[0] for waveform in waveforms]
    padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
    mask = torch.arange(padded.shape[1]) < torch.tensor([len(rows) for rows in frames])[:, None]
    together = ours.hidden_states(padded, mask)
    assert len(together) == len(ours.layers) + 1
    for row, (waveform, alone) in enumerate(zip(waveforms, frames, strict=True)):
        output = theirs(waveform, output_hidden_states=True)
        expected = [*output.hidden_states[:-1], output.last_hidden_state]
        alone = ours.hidden_states(alone[None], torch.ones(1, len(alone), dtype=torch.bool))
        for number, states in enumerate(expected):
            for found in (together[number][row, : states.shape[1]], alone[number][0]):
                torch.testing.assert_close(found, states[0], atol=1e-5, rtol=1e-5)


def test_a_layer_that_is_dropped_outputs_its_input(tmp_path: Path) -> None:
    encoder = load(tiny_speech_encoder(tmp_path, layerdrop=1.0)).train()
    states = encoder.hidden_states(torch.randn(1, 9, encoder.front_dim), torch.ones(1, 9, dtype=torch.bool))
    for state in states:
        torch.testing.assert_close(state, states[0])


@torch.no_grad()
def test_a_padded_batch_with_a_mask_gives_what_transformers_gives_for_that_batch(
    variant: tuple[SpeechEncoder, Any],
) -> None:
    ours, theirs = variant
    waveforms = torch.stack(
        [
            torch.nn.functional.pad(torch.from_numpy(noise(samples, seed)), (0, max(SAMPLES) - samples))
            for seed, samples in enumerate(SAMPLES)
        ]
    )
    attention_mask = torch.arange(max(SAMPLES)) < torch.tensor(SAMPLES)[:, None]
    output = theirs(waveforms, attention_mask=attention_mask.long())
    frames = ours.frontend(waveforms)
    if ours.is_moonshine:  # transformers counts a frame as real as soon as its first sample is
        mask = output.attention_mask.bool()
    else:
        mask = torch.arange(frames.shape[1]) < torch.tensor([ours.frame_count(n) for n in SAMPLES])[:, None]
    hidden = ours.context(frames, mask)
    if theirs.config.model_type == "data2vec-audio":
        # transformers lets the padding leak through data2vec's positional convolutions, and ours does not:
        # only the longest utterance is the same. The test before this one holds the others to the truth.
        mask[1:] = False
    torch.testing.assert_close(hidden[mask], output.last_hidden_state[mask], atol=1e-5, rtol=1e-5)


@pytest.fixture
def with_batch_norm(tmp_path: Path) -> tuple[SpeechEncoder, Any]:
    """Our adapter and transformers' HuBERT with a batch norm that does not map zeros to zeros; without dropout."""
    dropouts = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop")
    directory = tiny_speech_encoder(tmp_path, "hubert", conv_pos_batch_norm=True, **dict.fromkeys(dropouts, 0.0))
    theirs = reference(directory)
    norm = theirs.encoder.pos_conv_embed.batch_norm
    generator = torch.Generator().manual_seed(0)
    for values in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
        values.uniform_(0.5, 2.0, generator=generator)
    theirs.save_pretrained(directory)
    return load(directory), theirs


@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_padding_changes_nothing_in_a_hubert_with_a_batch_norm(
    with_batch_norm: tuple[SpeechEncoder, Any], training: bool
) -> None:
    """It did, by 2.1: the norm gave padding values that the convolution behind it spread into real frames."""
    ours, theirs = with_batch_norm
    ours.train(training)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    assert_padding_changes_nothing(ours, theirs)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


@torch.no_grad()
def test_frames_are_counted_as_they_come_for_every_length(variant: tuple[SpeechEncoder, Any]) -> None:
    ours, _ = variant
    field, step = ours.receptive_field_samples, ours.samples_per_frame
    lengths = {field, field + 1, field + step - 1, field + step, *range(field, field + 3 * step, 97), 15_999, 16_001}
    for samples in sorted(lengths):
        assert ours.frontend(torch.zeros(1, samples)).shape[1] == ours.frame_count(samples), samples
    assert ours.frame_count(field - 1) == ours.frame_count(0) == 0
    assert (ours.frame_count(field), ours.frame_count(field + step - 1), ours.frame_count(field + step)) == (1, 1, 2)


def test_the_frame_rate_and_receptive_field_follow_from_the_convolutions(variant: tuple[SpeechEncoder, Any]) -> None:
    ours, _ = variant
    step, field = (384, 895) if ours.is_moonshine else (320, 400)
    assert (ours.samples_per_frame, ours.receptive_field_samples) == (step, field)
    assert ours.frame_rate == pytest.approx(16_000 / step)


def test_the_front_end_is_frozen_and_everything_behind_it_is_trained(variant: tuple[SpeechEncoder, Any]) -> None:
    ours, _ = variant
    frozen = {id(parameter) for parameter in ours.frontend_modules().parameters()}
    assert frozen
    for parameter in ours.parameters():
        assert parameter.requires_grad == (id(parameter) not in frozen)


def test_gradients_reach_the_context_and_not_the_front_end(variant: tuple[SpeechEncoder, Any]) -> None:
    ours, _ = variant
    frames = ours.frontend(torch.from_numpy(noise(8_000))[None])
    assert not frames.requires_grad
    ours.context(frames, torch.ones(frames.shape[:2], dtype=torch.bool)).sum().backward()
    trained = [parameter for name, parameter in ours.named_parameters() if parameter.requires_grad]
    assert sum(parameter.grad is not None for parameter in trained) > 20
    assert all(parameter.grad is None for parameter in ours.frontend_modules().parameters())
    ours.zero_grad(set_to_none=True)


def test_an_encoder_rebuilt_from_its_configuration_has_the_checkpoint_s_weights_names(
    variant: tuple[SpeechEncoder, Any],
) -> None:
    ours, theirs = variant
    rebuilt = SpeechEncoder.from_dict({"config": theirs.config.to_dict(), "zero_mean_unit_variance": True})
    assert {n: v.shape for n, v in rebuilt.state_dict().items()} == {n: v.shape for n, v in ours.state_dict().items()}


@pytest.mark.parametrize("family", SPEECH_FAMILIES)
def test_the_outline_says_what_the_loaded_encoder_says(family: str, tmp_path: Path) -> None:
    files = resolve_encoder(str(tiny_speech_encoder(tmp_path, family)))
    outline, loaded = speech_outline(files), load_speech_encoder(files)
    assert all(parameter.is_meta for parameter in outline.frontend_modules().parameters())
    for fact in ("front_dim", "hidden_size", "attention_heads", "receptive_field_samples", "zero_mean_unit_variance"):
        assert getattr(outline, fact) == getattr(loaded, fact)
    assert outline.frame_count(12_345) == loaded.frame_count(12_345)


@pytest.mark.parametrize("family", [family for family in SPEECH_FAMILIES if family != "moonshine"])
@pytest.mark.parametrize("frames", [1, 5, 10, 11, 60])
def test_an_utterance_too_short_for_spec_augment_can_be_trained_on(family: str, frames: int, tmp_path: Path) -> None:
    directory = tiny_speech_encoder(tmp_path, family, mask_time_prob=0.5, mask_time_length=10)
    encoder = load(directory).train()
    mask = torch.ones(2, frames, dtype=torch.bool)
    mask[1, max(1, frames // 3) :] = False
    assert encoder.context(torch.randn(2, frames, encoder.front_dim), mask).isfinite().all()


def test_spec_augment_masks_real_frames_in_training_and_none_in_evaluation(tmp_path: Path) -> None:
    directory = tiny_speech_encoder(
        tmp_path, mask_time_prob=0.3, hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0
    )
    encoder = load(directory)
    frames, mask = torch.randn(1, 60, encoder.front_dim), torch.ones(1, 60, dtype=torch.bool)
    expected = encoder.context(frames, mask)
    torch.testing.assert_close(encoder.context(frames, mask), expected)
    assert not torch.allclose(encoder.train().context(frames, mask), expected)


def test_normalising_a_waveform_is_what_the_feature_extractor_does(tiny_speech: Path) -> None:
    encoder = load(tiny_speech)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    for samples in SAMPLES:
        waveform = 0.03 * noise(samples) + 0.01
        expected = extractor(waveform, sampling_rate=16_000, return_tensors="np").input_values[0]
        normalised = encoder.normalise(waveform)
        assert normalised.dtype == np.float32
        np.testing.assert_allclose(normalised, expected, atol=1e-5)


def test_a_checkpoint_that_does_not_normalise_gets_the_waveform_as_it_is(tmp_path: Path) -> None:
    encoder = load(tiny_speech_encoder(tmp_path, do_normalize=False))
    waveform = noise(1_000)
    assert encoder.normalise(waveform) is waveform


def test_silence_normalises_to_silence(tiny_speech: Path) -> None:
    np.testing.assert_array_equal(load(tiny_speech).normalise(np.zeros(1_000, np.float32)), 0)


@pytest.mark.parametrize("do_normalize", [True, False])
def test_a_moonshine_checkpoint_s_preprocessor_decides_on_normalising(tmp_path: Path, do_normalize: bool) -> None:
    encoder = load(tiny_speech_encoder(tmp_path, "moonshine", do_normalize=do_normalize))
    assert encoder.zero_mean_unit_variance == do_normalize


@pytest.mark.real
@torch.no_grad()
def test_moonshine_tiny_gives_transformers_values_on_a_real_recording(shared: Path) -> None:
    directory = shared / "models" / "moonshine-tiny-encoder"
    recording = sorted((shared / "data" / "ravdess4" / "audio").glob("*.flac"))[0]
    encoder = load(directory)
    theirs = MoonshineEncoder.from_pretrained(
        directory, key_mapping={r"^(model\.)?encoder\.": ""}, dtype=torch.float32
    ).eval()
    waveform = torch.from_numpy(encoder.normalise(audio.load(recording)))[None]
    frames = encoder.frontend(waveform)
    hidden = encoder.context(frames, torch.ones(frames.shape[:2], dtype=torch.bool))
    assert (encoder.hidden_size, encoder.samples_per_frame) == (288, 384)
    assert frames.shape[1] == encoder.frame_count(waveform.shape[1])
    torch.testing.assert_close(hidden, theirs(waveform).last_hidden_state, atol=1e-5, rtol=1e-5)


@pytest.mark.real
def test_the_real_shapes_have_the_published_numbers_of_parameters(shared: Path) -> None:
    configs = shared / "models" / "configs"
    wav2vec2 = AutoConfig.from_pretrained(configs / "wav2vec2-base").to_dict()
    with torch.device("meta"):
        speech = SpeechEncoder.from_dict({"config": wav2vec2, "zero_mean_unit_variance": True})
        text = AutoModel.from_config(AutoConfig.from_pretrained(configs / "roberta-base"), add_pooling_layer=False)
    assert sum(parameter.numel() for parameter in speech.parameters()) == 94_371_712
    assert sum(parameter.numel() for parameter in text.parameters()) == 124_055_040
    assert (speech.front_dim, speech.hidden_size, speech.attention_heads) == (512, 768, 12)
    assert (speech.samples_per_frame, speech.receptive_field_samples, speech.frame_count(16_000)) == (320, 400, 49)
