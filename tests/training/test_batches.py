"""Batches: what an utterance brings, how it is padded, and how an epoch is cut."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet, frames_needed
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.encoders.speech import SpeechEncoder, load_speech_encoder
from mmer_pipeline.features.feature_file import FeatureFile, FeatureIdentity, Row
from mmer_pipeline.features.feature_writer import FeatureWriter
from mmer_pipeline.training.batches import epoch_batches, micro_batches
from mmer_pipeline.training.examples import ComputedFrames, Examples, StoredRows

LETTERS = Alphabet(WAV2VEC2_ALPHABET)
LENGTHS = np.random.default_rng(0).integers(20, 600, 83).tolist()  # frames of each utterance of a corpus
POSITIONS = [position for position in range(83) if position % 5]  # those that are trained on


def write_features(path: Path, kind: str, manifest: Manifest, rows: list[np.ndarray]) -> FeatureFile:
    """A feature file in the reverse of the manifest's order."""
    dtype = str(rows[0].dtype)
    identity = FeatureIdentity(kind, "made", "", "0", "", "", dtype)
    order = range(len(rows))[::-1]
    plan = [Row(manifest.utterances[n].utterance_id, "0" * 32, len(rows[n])) for n in order]
    with FeatureWriter(path, identity, rows[0].shape[1], plan) as writer:
        writer.write((number, rows[n]) for number, n in enumerate(order))
        writer.finish()
    return FeatureFile(path)


@pytest.fixture
def rows() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Features of 16 utterances: speech (dim 5) and text (dim 3), both of different lengths."""
    generator = np.random.default_rng(1)
    speech = [generator.normal(size=(generator.integers(30, 60), 5)).astype(np.float16) for _ in range(16)]
    text = [generator.normal(size=(generator.integers(2, 12), 3)).astype(np.float16) for _ in range(16)]
    return speech, text


def make_examples(manifest: Manifest, text: FeatureFile, speech: FeatureFile) -> Examples:
    return Examples(
        manifest,
        speech=StoredRows(manifest, speech),
        frame_rate=50.0,
        text=StoredRows(manifest, text),
        alphabet=LETTERS,
    )


@pytest.fixture
def examples(manifest: Manifest, rows: tuple[list[np.ndarray], list[np.ndarray]]) -> Examples:
    speech = write_features(Path("speech.h5"), "speech", manifest, rows[0])
    text = write_features(Path("text.h5"), "text", manifest, rows[1])
    return make_examples(manifest, text, speech)


def test_an_utterance_is_as_long_as_the_longest_of_its_frozen_frames_and_its_tokens(
    manifest: Manifest, examples: Examples, rows: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    frames = examples.speech
    assert frames is not None
    found = Examples(
        manifest, speech=None, frame_rate=None, text=examples.text, alphabet=None, others={"speech_states": frames}
    )
    expected = [max(len(speech) / 50, len(text) / 3.2) for speech, text in zip(*rows, strict=True)]
    assert found.seconds == pytest.approx(expected)
    assert any(len(speech) / 50 > len(text) / 3.2 for speech, text in zip(*rows, strict=True))


@pytest.mark.parametrize("positions", [(3,), (0, 9, 4), tuple(range(16))])
def test_a_batch_holds_each_utterance_s_values_and_zeros_behind_them(
    positions: tuple[int, ...], examples: Examples, rows: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    batch = examples.batch(positions)
    assert batch.inputs["frames"].dtype == batch.inputs["tokens"].dtype == torch.float16  # as stored: half to move
    batch = batch.to(torch.device("cpu"))
    assert batch.positions == positions
    assert batch.frame_counts == tuple(len(rows[0][position]) for position in positions)
    for values, mask, wanted in zip(
        [batch.inputs[name] for name in ("frames", "tokens")],
        [batch.inputs[name] for name in ("frame_mask", "token_mask")],
        rows,
        strict=True,
    ):
        longest = max(len(wanted[position]) for position in positions)
        assert values.shape == (len(positions), longest, wanted[0].shape[1])
        assert (values.dtype, mask.dtype) == (torch.float32, torch.bool)
        for row, position in enumerate(positions):
            length = len(wanted[position])
            assert mask[row].tolist() == [True] * length + [False] * (longest - length)
            np.testing.assert_array_equal(values[row, :length], wanted[position])
            assert not values[row, length:].any()


def test_a_batch_carries_classes_in_the_label_map_s_order(manifest: Manifest, examples: Examples) -> None:
    assert manifest.labels == ("happy", "angry", "neutral", "sad")
    classes = {"hap": 0, "exc": 0, "ang": 1, "neu": 2, "sad": 3}
    wanted = [classes[utterance.emotion] for utterance in manifest.utterances]
    assert examples.batch(range(16)).labels.tolist() == examples.labels == wanted


def test_a_batch_moves_as_a_whole(examples: Examples) -> None:
    batch = examples.batch([1, 2])
    moved = batch.to(torch.device("meta"))
    assert moved.inputs["frames"].is_meta
    assert moved.labels.is_meta
    assert moved.symbols.is_meta
    assert (moved.positions, moved.symbol_counts) == (batch.positions, batch.symbol_counts)


def test_targets_are_those_that_can_be_spelt_in_the_frames_there_are(
    manifest: Manifest, rows: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    transcripts = ["[LAUGHTER]", "123", "aab " * 20, "a" * 15, "good"]  # nothing, nothing, too long, just so, short
    rows[0][3] = rows[0][3][:29]
    utterances = [
        replace(utterance, transcript=transcript)
        for utterance, transcript in zip(manifest.utterances, [*transcripts, *["oh"] * 11], strict=True)
    ]
    changed = replace(manifest, utterances=tuple(utterances))
    speech = write_features(Path("speech.h5"), "speech", changed, rows[0])
    text = write_features(Path("text.h5"), "text", changed, rows[1])
    examples = make_examples(changed, text, speech)
    assert frames_needed(LETTERS.encode("a" * 15)) == 29 == len(rows[0][3])
    assert [bool(target) for target in examples.targets[:5]] == [False, False, False, True, True]
    assert examples.targets[4] == tuple(LETTERS.encode("good"))
    assert examples.without_target == 3
    batch = examples.batch([4, 0, 3])
    assert batch.symbol_counts == (4, 0, 15)
    assert batch.symbols.tolist() == LETTERS.encode("good") + LETTERS.encode("a" * 15)
    assert (examples.reference(0), examples.reference(4)) == ("", "GOOD")


@pytest.fixture
def encoder(tiny_speech: Path) -> SpeechEncoder:
    return load_speech_encoder(resolve_encoder(str(tiny_speech))).eval()


def test_computed_frames_are_the_front_end_s_of_each_recording(manifest: Manifest, encoder: SpeechEncoder) -> None:
    frames = ComputedFrames(manifest, encoder)
    for position in (0, 7, 15):
        samples, _ = soundfile.read(manifest.audio_path(manifest.utterances[position]), dtype="float32")
        expected = encoder.row_arrays(encoder.normalise(samples)[None])[0]
        np.testing.assert_array_equal(frames.row(position), expected)
        assert frames.length(position) == len(expected)


def test_stored_frames_are_found_by_utterance_and_counted_without_being_read(
    manifest: Manifest, rows: tuple[list[np.ndarray], list[np.ndarray]]
) -> None:
    features = write_features(Path("speech.h5"), "speech", manifest, rows[0])
    frames = StoredRows(manifest, features)
    assert [frames.length(position) for position in range(16)] == [len(row) for row in rows[0]]
    for position in range(16):
        np.testing.assert_array_equal(frames.row(position), rows[0][position])


def epoch(seed: int = 0, bucket_batches: int = 4, batch_size: int = 8) -> list[list[int]]:
    return epoch_batches(POSITIONS, LENGTHS, batch_size=batch_size, bucket_batches=bucket_batches, seed=seed)


@pytest.mark.parametrize("bucket_batches", [1, 4, 1000])
@pytest.mark.parametrize("batch_size", [1, 8, 66, 100])
def test_an_epoch_has_every_position_once(batch_size: int, bucket_batches: int) -> None:
    batches = epoch(3, bucket_batches, batch_size)
    assert sorted(position for batch in batches for position in batch) == POSITIONS
    sizes = sorted((len(batch) for batch in batches), reverse=True)
    assert len(sizes) == -(-len(POSITIONS) // batch_size)
    assert max(sizes) - min(sizes) <= 1


def test_the_smaller_steps_are_not_those_of_the_longest_utterances() -> None:
    """The rest of a bucket would be its longest utterances, and each would weigh several times as much as others."""
    positions, lengths = list(range(66)), [float(i) for i in range(66)]
    last = []
    for seed in range(300):
        batches = epoch_batches(positions, lengths, batch_size=8, bucket_batches=16, seed=seed)
        assert sorted({len(batch) for batch in batches}) == [7, 8]
        last += [np.mean(batch) for batch in batches if len(batch) == 7]
    assert np.mean(last) == pytest.approx(np.mean(positions), rel=0.05)


def test_an_epoch_is_decided_by_its_seed_alone() -> None:
    assert epoch(7) == epoch(7)
    assert epoch(7) != epoch(8)


def test_a_bucket_of_one_batch_is_a_plain_shuffle() -> None:
    def spread(batches: list[list[int]]) -> float:
        """How much longer than their mean the longest of the batches are."""
        return float(
            np.mean([max(LENGTHS[i] for i in batch) / np.mean([LENGTHS[i] for i in batch]) for batch in batches])
        )

    plain = epoch(0, bucket_batches=1)
    by_other_lengths = epoch_batches(POSITIONS, [1] * 83, batch_size=8, bucket_batches=1, seed=0)
    assert plain == by_other_lengths  # lengths play no part
    assert any(batch != sorted(batch, key=lambda i: LENGTHS[i]) for batch in plain)
    assert spread(epoch(0, bucket_batches=8)) < 1.3 < spread(plain)


def test_short_utterances_do_not_come_first() -> None:
    """Batches are shuffled after they were sorted."""
    first = [np.mean([LENGTHS[i] for i in epoch(seed, bucket_batches=1000)[0]]) for seed in range(200)]
    assert np.mean(first) == pytest.approx(np.mean([LENGTHS[i] for i in POSITIONS]), rel=0.15)


@pytest.mark.parametrize("max_frames", [1.0, 600.0, 1500.0, 1e9])
def test_micro_batches_cover_a_step_and_keep_to_the_bound_with_padding(max_frames: float) -> None:
    for batch in epoch(0, bucket_batches=1):
        parts = micro_batches(batch, LENGTHS, max_frames)
        assert sorted(position for part in parts for position in part) == sorted(batch)
        for part in parts:
            assert len(part) * max(LENGTHS[i] for i in part) <= max_frames or len(part) == 1


def test_a_step_within_the_bound_is_one_micro_batch() -> None:
    assert len(micro_batches([1, 2, 3], LENGTHS, 3 * max(LENGTHS))) == 1
    assert micro_batches([], LENGTHS, 100.0) == []
