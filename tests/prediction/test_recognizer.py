"""The recognizer: its predictions are those of `evaluate`, whatever form a recording has, and it writes nothing."""

import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from helpers.trained_runs import RATE, FakeAsr, model, recognizer, tone

from mmer_pipeline import EmotionRecognizer, audio, paths
from mmer_pipeline.audio import AudioError
from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction import recognizer as module
from mmer_pipeline.prediction.packing import pack
from mmer_pipeline.prediction.segmentation import Segment
from mmer_pipeline.runs import read_predictions

HELLO = "Hello there"


@pytest.fixture(scope="module")
def mmer(trained):
    """MMER's model of fold 1; its ASR model hears `HEARD` in everything."""
    return recognizer(model(trained))


def same(found, expected, tolerance=1e-6):
    assert (found.label, found.transcript) == (expected.label, expected.transcript)
    assert list(found.probabilities.values()) == pytest.approx(list(expected.probabilities.values()), abs=tolerance)
    return True


# --- the same as evaluate ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "fold"),
    [("mmer", 1), ("mmer", 2), ("no-gate", 1), ("cai", 1), ("roberta", 1), ("tuned", 1), ("mmer-tuned", 1)],
)
def test_predictions_with_gold_transcripts_are_those_of_evaluate(trained, run, fold):
    manifest = read_manifest(trained / "cache/manifest.csv")
    rows = {row["utterance_id"]: row for row in read_predictions(paths.fold(trained / "runs" / run, fold).predictions)}
    utterances = [utterance for utterance in manifest.utterances if utterance.utterance_id in rows]
    waveforms = [audio.load(manifest.audio_path(utterance)) for utterance in utterances]
    gold = recognizer(model(trained, run, fold), transcripts="gold")
    found = gold.predict(waveforms, [utterance.transcript for utterance in utterances])
    assert len(found) == len(rows) == 8
    for utterance, prediction in zip(utterances, found, strict=True):
        row = rows[utterance.utterance_id]
        assert prediction.label == row["prediction"]
        assert prediction.transcript_ctc == row["transcript_ctc"]
        expected = {label: float(row[f"probability_{label}"]) for label in gold.labels}
        assert prediction.probabilities == pytest.approx(expected, abs=2e-6)
        assert (prediction.gate is None) == ("gate" not in row)
        assert prediction.gate is None or prediction.gate == pytest.approx(float(row["gate"]), abs=2e-6)


def test_a_prediction_is_the_most_probable_class(mmer):
    prediction = mmer(tone(0.7), RATE, transcript=HELLO)
    assert tuple(prediction.probabilities) == mmer.labels == ("happy", "angry", "neutral", "sad")
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0)
    assert prediction.probability == max(prediction.probabilities.values())
    assert (prediction.transcript, prediction.transcript_source) == (HELLO, "given")
    assert (prediction.start_seconds, prediction.end_seconds, prediction.explanation) == (None, None, None)


# --- forms of a recording ---------------------------------------------------------------------------------


def test_a_path_its_bytes_and_its_samples_give_the_same(mmer):
    samples = np.round(tone(0.8) * 32_768).astype(np.int16)
    soundfile.write("a.wav", samples, RATE, subtype="PCM_16")
    expected = mmer("a.wav", transcript=HELLO)
    floats = samples.astype(np.float64) / 32_768
    for form in (Path("a.wav"), Path("a.wav").read_bytes()):
        assert same(mmer(form, transcript=HELLO), expected, 0)
    stereo = np.stack([samples, samples], axis=1)
    for form in (
        samples,
        floats,
        floats.astype(np.float32),
        floats[:, None],
        stereo,
        stereo.astype(np.float64) / 32_768,
    ):
        assert same(mmer(form, RATE, transcript=HELLO), expected, 0)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_another_rate_is_resampled_as_in_a_file(mmer, rate):
    samples = tone(0.8, rate=rate)
    soundfile.write("a.wav", np.stack([samples, samples], axis=1), rate, subtype="FLOAT")
    expected = mmer("a.wav", transcript=HELLO)
    assert same(mmer(samples, rate, transcript=HELLO), expected, 0)
    assert same(mmer(soxr.resample(samples, rate, RATE, quality="VHQ"), RATE, transcript=HELLO), expected, 1e-3)


def test_a_flac_in_memory(mmer):
    stream = io.BytesIO()
    soundfile.write(stream, tone(0.5), RATE, format="FLAC")
    Path("a.flac").write_bytes(stream.getvalue())
    assert same(mmer(stream.getvalue()), mmer("a.flac"), 0)


def test_a_list_gives_a_list(mmer):
    soundfile.write("a.wav", tone(0.5), RATE)
    found = mmer(["a.wav", Path("a.wav"), Path("a.wav").read_bytes()])
    assert [same(one, mmer("a.wav")) for one in found] == [True] * 3
    waveforms = [tone(0.5, 110.0), tone(0.9, 440.0)]
    for one, waveform in zip(mmer(waveforms, RATE, explain=True), waveforms, strict=True):
        assert same(one, mmer(waveform, RATE))
        assert one.explanation is not None
    assert mmer([]) == []
    assert mmer.predict([]) == []


def test_a_list_takes_no_single_transcript(mmer):
    with pytest.raises(UserError, match=r"A list needs a list of transcripts: recognizer\.predict\("):
        mmer([tone(0.5), tone(0.6)], RATE, transcript=HELLO)


def test_a_batch_keeps_its_order_and_its_neighbours_do_not_matter(mmer, monkeypatch):
    monkeypatch.setattr(module.memory_budget, "CPU_SECONDS", 4.0)  # several batches, sorted by length
    monkeypatch.setattr(module, "TOKENS_PER_BATCH", 16)
    waveforms = [tone(0.3 + 0.37 * (i % 5), 100.0 + 40 * i) for i in range(9)]
    transcripts = [" ".join(["word"] * (i * 3 % 7 + 1)) for i in range(9)]
    found = mmer.predict(waveforms, transcripts)
    assert [one.transcript for one in found] == transcripts
    for waveform, transcript, prediction in zip(waveforms, transcripts, found, strict=True):
        assert same(prediction, mmer.predict([waveform], [transcript])[0], 1e-5)


# --- what cannot be used ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (tone(0.02), r"too short: expected at least 0\.025 s, found 0\.020 s"),
        (np.zeros(RATE, np.float32), "silent: no sample is louder than −60 dB"),
        (np.zeros(0, np.float32), "the array is empty"),
        (np.array([0.1, np.nan] * RATE), r"not numbers \(NaN or infinity\)"),
        (np.array([0.1, np.inf] * RATE), r"not numbers \(NaN or infinity\)"),
        (np.ones(RATE, np.int64), r"expected floats or 16-bit integers .* found int64 \[16000\] at 16000 Hz"),
        (np.ones((2, 2, RATE)), "found float64"),
        (b"no recording", "damaged or not a recording"),
        (b"", r"the file is empty \(0 bytes\)"),
        ("none.wav", "none.wav: there is no such file"),
        (0.5, "found float"),
        (None, "found NoneType"),
        ([0.1, 0.2], "found float"),
    ],
)
def test_what_cannot_be_used_is_one_message(mmer, form, said):
    with pytest.raises(UserError, match=said):
        mmer(form, RATE)


def test_samples_need_their_rate(mmer):
    with pytest.raises(UserError, match=r"recognizer\(samples, 16000\)"):
        mmer(tone(0.5))
    with pytest.raises(AudioError, match=r"their rate from .* Hz; found .* at 0 Hz"):
        mmer(tone(0.5), 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_waveforms_that_are_not_finite_are_refused(mmer, value):
    waveform = tone(0.5)
    waveform[100] = value
    with pytest.raises(UserError, match="not numbers"):
        mmer.predict([tone(0.5), waveform])


def test_as_many_transcripts_as_waveforms(mmer):
    with pytest.raises(ValueError, match="zip"):
        mmer.predict([tone(0.5)], [HELLO, HELLO])


def test_a_model_whose_weights_are_no_numbers_gives_no_emotion(trained):
    broken = recognizer(model(trained))
    with torch.no_grad():
        broken._members[0].emotion_head.bias[0] = float("nan")
    with pytest.raises(UserError, match="The model's output is not a number"):
        broken(tone(0.5), RATE)


# --- one object for a program -----------------------------------------------------------------------------


def test_threads_share_a_recognizer(mmer):
    waveforms = [tone(0.3 + 0.05 * i, 100.0 + 30 * i) for i in range(16)]
    expected = [mmer(waveform, RATE, explain=True) for waveform in waveforms]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda waveform: mmer(waveform, RATE, explain=True), waveforms * 3))
    assert found == expected * 3


def test_recognizers_of_different_precision_share_a_process(trained):
    first, second = recognizer(model(trained)), recognizer(model(trained))
    expected = second(tone(0.5), RATE)
    first.precision = "bf16"
    with first._autocast():
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
    with second._autocast():
        assert not torch.is_autocast_enabled("cpu")
    assert same(first(tone(0.5), RATE), expected, 0.02)
    assert same(second(tone(0.5), RATE), expected, 0)


def test_no_file_is_written(trained):
    pack(model(trained), Path("packed"), cross_validation=None)
    soundfile.write("a.wav", tone(0.6), RATE)

    def listing():
        return sorted((str(path), path.lstat().st_mtime_ns) for path in Path.cwd().rglob("*"))

    before = listing()
    loaded = EmotionRecognizer.from_pretrained("packed", device="cpu")
    loaded._asr = FakeAsr()
    loaded(["a.wav", Path("a.wav").read_bytes()], explain=True)
    loaded.identity()
    assert listing() == before


def test_from_pretrained_finds_runs_and_packed_models(trained, monkeypatch):
    monkeypatch.setenv(paths.RUNS_DIR_VARIABLE, str(trained / "runs"))
    pack(model(trained), Path("packed"), cross_validation=None)
    run, packed = (EmotionRecognizer.from_pretrained(name, device="cpu") for name in ("all", Path("packed")))
    assert [member.fold for member in run.model.members] == [0]
    assert same(
        packed(tone(0.5), RATE, transcript=HELLO), recognizer(model(trained))(tone(0.5), RATE, transcript=HELLO)
    )
    with pytest.raises(UserError, match="packed is a local directory: a revision"):
        EmotionRecognizer.from_pretrained("packed", revision="main")
    with pytest.raises(UserError, match="No device 'cuda:99'"):
        EmotionRecognizer.from_pretrained("packed", device="cuda:99")


def test_the_identity_changes_with_all_that_a_prediction_depends_on(trained, monkeypatch):
    monkeypatch.setattr(module, "resolve_encoder", lambda name, _: type("F", (), {"digest": lambda _: name})())
    identities = [
        recognizer(model(trained)).identity(),
        recognizer(model(trained, "mmer", 2)).identity(),
        recognizer(model(trained, "mmer", 1, 2)).identity(),
        recognizer(model(trained), transcripts="asr").identity(),
        recognizer(model(trained), asr_model="another").identity(),
        recognizer(model(trained)).identity(cut="always"),
    ]
    assert len(set(identities)) == len(identities)
    assert identities[0] == recognizer(model(trained)).identity()


def test_the_identity_needs_no_asr_model(trained):
    without = recognizer(model(trained), asr_model="no/such-model")
    assert len(without.identity()) == 16
    assert without(tone(0.5), RATE, transcript=HELLO).label in without.labels


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys, mmer_pipeline; assert 'torch' not in sys.modules; print(mmer_pipeline.EmotionRecognizer.__name__)"
    )
    root = str(Path(module.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}, check=True
    )
    assert done.stdout == "EmotionRecognizer\n"


# --- long recordings --------------------------------------------------------------------------------------


def test_the_utterances_of_a_recording_have_their_times(mmer, monkeypatch):
    soundfile.write("talk.wav", np.concatenate([tone(1.0, pitch) for pitch in (110.0, 220.0, 330.0)]), RATE)
    segments = [Segment(0.0, 0.9), Segment(1.1, 1.9), Segment(2.0, 3.0)]
    monkeypatch.setattr(module, "speech_segments", lambda _: segments)
    monkeypatch.setattr(module, "UTTERANCES_PER_CALL", 2)
    found = mmer.utterances("talk.wav")
    assert [(one.start_seconds, one.end_seconds) for one in found] == [(0.0, 0.9), (1.1, 1.9), (2.0, 3.0)]
    for one, segment in zip(found, segments, strict=True):
        waveform = audio.load(Path("talk.wav"), segment.start_seconds, segment.end_seconds)
        assert same(one, mmer(waveform, RATE), 1e-5)


def test_a_recording_without_speech_has_no_utterances(mmer):
    soundfile.write("tone.wav", tone(2.0, 1000.0), RATE)
    assert mmer.utterances(Path("tone.wav")) == []
    with pytest.raises(AudioError, match="there is no such file"):
        mmer.utterances("none.wav")


def test_what_is_too_long_for_one_utterance_is_refused(mmer):
    with pytest.raises(UserError, match=r"The recording is 61 s long, too long for one utterance \(at most 60 s\)"):
        mmer(np.full(61 * 16_000, 0.1, dtype=np.float32), 16_000)
    with pytest.raises(AudioError, match=r"their rate from 1,000 to 1,000,000 Hz; found .* at 16 Hz"):
        mmer(np.full(16_000, 0.1, dtype=np.float32), 16)
