"""Bad input and broken files: each is one clear message, and nothing is lost."""

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import h5py
import pytest
import soundfile
from helpers.command_line import fail, invoke, succeed

from mmer_pipeline import paths
from mmer_pipeline.features.feature_file import FeatureFile
from mmer_pipeline.features.speech_features import Frames
from mmer_pipeline.features.text_features import Tokens

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = Path("runs/mmer")


@pytest.fixture
def training(encoders):
    return ["train", *encoders, "--epochs", "2", "--learning-rate", "1e-3"]


# --- bad input: one message, exit code 1, nothing lost ----------------------------------------------------


def test_a_missing_manifest_names_the_command(encoders):
    message = fail("extract", *encoders)
    assert "No manifest at cache/manifest.csv" in message
    assert "mmer-pipe prepare" in message


def test_training_without_features_names_the_command(manifest, training):
    assert "Run `mmer-pipe extract" in fail(*training)


def test_the_command_that_mends_features_finds_them_where_they_are(manifest, encoders, training):
    """It named neither the cache nor the manifest."""
    Path("cache/manifest.csv").rename("cache/mine.csv")
    Path("cache/manifest.json").rename("cache/mine.json")
    place = ["--cache-dir", "else where", "--manifest", "cache/mine.csv"]
    missing = fail(*training, *place, "--fold", 1)
    succeed("extract", *encoders, *place)
    for path in Path("else where/features").rglob("*.h5"):
        with h5py.File(path, "r+") as file:
            file["values"][:] = file["values"][()][::-1]
    for message in (missing, fail(*training, *place, "--fold", 1)):
        command = re.search(r"`mmer-pipe (extract .*?)`", message)[1]
        succeed(*shlex.split(command))
    for request in json.loads(succeed("extract", *encoders, *place, "--json").stdout).values():
        assert request["computed"] == 0


def test_a_wrong_encoder_name_says_where_was_looked(manifest, encoders):
    message = fail("extract", "--text-encoder", "no-such-encoder", *encoders[2:])
    assert "No encoder no-such-encoder" in message
    assert "hub" in message


def test_a_recording_cut_after_prepare_is_named_and_finished_rows_are_kept(manifest, encoders):
    path = manifest.audio_path(manifest.utterances[3])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert str(path) in fail("extract", *encoders)
    text = Tokens("text", encoders[1], None, "float16").path(Path("cache"), manifest.path)
    assert FeatureFile(text).complete
    path.write_bytes(whole)
    assert json.loads(succeed("extract", *encoders, "--json").stdout)["text"]["computed"] == 0


def test_a_recording_that_became_far_too_loud_is_named_by_extract_and_audit(manifest, encoders):
    """The audit ended in a traceback, and extract named neither the recording nor the utterance."""
    path = manifest.audio_path(manifest.utterances[3])
    soundfile.write(path, [1e38, -1e38] * 8000, 16_000, subtype="FLOAT")
    assert f"{path}: expected floats in -1 … 1, found up to 1e+38" in fail("extract", *encoders)
    assert (
        f"{path}: expected floats in -1 … 1"
        in json.loads(invoke("audit", "--json").stdout)["findings"][0]["examples"][0]
    )


def test_a_features_file_cut_in_half_is_named_with_what_to_do(manifest, encoders, training):
    succeed("extract", *encoders)
    path = Frames("speech", encoders[3], None, "float16").path(Path("cache"), manifest.path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = fail(*training)
    assert path.name in message
    assert "mmer-pipe extract" in message
    succeed("extract", *encoders, *training, "--fold", 1)  # extract makes it again


def test_features_of_another_encoder_are_refused(tmp_path, manifest, encoders, training):
    from mmer_pipeline.demo.encoders import tiny_speech_encoder

    encoder = tiny_speech_encoder(tmp_path / "encoder")
    succeed("extract", *encoders[:3], encoder)
    tiny_speech_encoder(encoder, seed=7)  # other weights
    message = fail(*training[:4], encoder, *training[5:])
    assert "another encoder" in message
    assert "encoder digest" in message


def test_a_fold_that_does_not_exist_says_which_do(manifest, encoders, training):
    succeed("extract", *encoders)
    assert "There is no fold 7" in fail(*training, "--fold", 7)
    assert "mmer-pipe train --run mmer --fold 7" in fail("evaluate", "--fold", 7)


def test_a_model_without_weights_is_named(manifest, encoders, training):
    succeed("extract", *encoders, *training, "--fold", 1)
    paths.fold(RUN, 1).weights.unlink()
    message = fail("evaluate", "--fold", 1)
    assert "No model at" in message
    assert "mmer-pipe train" in message


def test_evaluating_with_features_that_changed_since_training_is_refused(manifest, encoders, training):
    succeed("extract", *encoders, *training, "--fold", 1)
    path = manifest.audio_path(manifest.utterances[0])
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[:-400], rate)
    assert "out of date" in fail("evaluate", "--fold", 1)
    succeed("extract", *encoders)
    assert "Changed since" in fail("evaluate", "--fold", 1)


def test_a_run_name_is_no_path():
    for command in ("train", "evaluate", "report"):
        assert "is a path" in fail(command, "--run", "../elsewhere", code=2)


def test_predictions_that_evaluate_did_not_write_are_not_reported(manifest, encoders, training):
    succeed("extract", *encoders, *training, "evaluate", "report")
    path = paths.fold(RUN, 1).predictions
    whole = path.read_text()
    for edited in (whole.replace("happy", "sad"), ""):
        path.write_text(edited)
        shown = succeed("report").stdout
        assert "1 of 2 folds" in shown
        assert "mmer-pipe evaluate --run mmer --fold 1" in " ".join(shown.split())
        succeed("evaluate")
        assert path.read_text() == whole
    assert "2-fold cross-validation" in succeed("report").stdout


def test_a_broken_evaluation_is_made_again(manifest, encoders, training):
    succeed("extract", *encoders, *training, "--fold", 1, "evaluate")
    paths.fold(RUN, 1).evaluation.write_text("{cut")
    succeed("evaluate")
    assert json.loads(paths.fold(RUN, 1).evaluation.read_text())["fold"] == 1


def test_an_unknown_device_says_what_there_is(manifest, encoders):
    assert "No device 'cuda:99'" in fail("--device", "cuda:99", "extract", *encoders)


def test_no_scheduler_at_the_address(manifest, encoders, monkeypatch):
    monkeypatch.setattr("mmer_pipeline.cluster.remote_scheduler.CONNECT_SECONDS", 1)
    assert "No Dask scheduler answers at 'tcp://127.0.0.1:9'" in fail(
        "extract", *encoders, "--scheduler", "tcp://127.0.0.1:9"
    )


def test_a_full_disk_is_one_message_and_the_features_there_stay(manifest, encoders):
    succeed("extract", *encoders, "--no-speech-features")
    before = {path: path.read_bytes() for path in Path("cache/features").rglob("*.h5")}
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"  # every larger file fails like a full disk
        "from stages.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, "extract", *encoders],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=False,
    )  # fmt: skip
    assert answer.returncode == 1, answer.stderr
    assert "disk is full" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert {path: path.read_bytes() for path in Path("cache/features").rglob("*.h5")} == before
    succeed("extract", *encoders)


HEADER = "utterance_id,audio,start_seconds,end_seconds,speaker,session,dialogue,emotion,transcript"
GOOD = "u1,session1/1F-1-hap.wav,,,1F,1,d,hap,Hello"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([HEADER.replace(",speaker", ""), "u1,a.wav,,,1,d,hap,Hello"], "missing columns: speaker"),
        ([HEADER, GOOD, GOOD], "u1"),
        ([HEADER, GOOD.replace("hap", "hapy")], "Unknown emotion label 'hapy'"),
        ([HEADER, GOOD.replace("session1/", "../")], "leaves the audio root"),
        ([HEADER, GOOD.replace("session1/", "/")], "leaves the audio root"),
    ],
)
def test_a_faulty_corpus_is_one_message_and_the_manifest_there_stays(manifest, rows, said):
    before = manifest.path.read_bytes()
    faulty = manifest.root / "faulty.csv"
    faulty.write_text("\n".join(rows) + "\n")
    assert said in fail("prepare", "csv", "--root", faulty, "--label-map", "iemocap-4")
    assert manifest.path.read_bytes() == before


def test_damaged_recordings_are_left_out_and_named_or_refused_when_strict(manifest):
    table = manifest.root / "all.csv"
    table.write_bytes(manifest.path.read_bytes())
    cut, empty = (manifest.audio_path(manifest.utterances[number]) for number in (0, 5))
    cut.write_bytes(cut.read_bytes()[:2000])
    empty.write_bytes(b"")
    before = manifest.path.read_bytes()
    arguments = ["prepare", "csv", "--root", table, "--label-map", "iemocap-4"]
    message = fail(*arguments, "--strict")
    assert manifest.utterances[0].utterance_id in message
    assert manifest.utterances[5].utterance_id in message
    assert manifest.path.read_bytes() == before
    assert json.loads(succeed(*arguments, "--json").stdout)["utterances"] == 14


@pytest.mark.parametrize("asked", ["much", "0", "-1"])
def test_a_part_of_a_step_has_some_seconds(asked):
    assert "--max-batch-seconds" in fail("train", "--max-batch-seconds", asked, code=2)


def test_tf32_is_refused_where_no_gpu_has_it(manifest, encoders, training):
    succeed("extract", *encoders)
    assert "--precision fp32" in fail(*training, "--precision", "tf32", "--device", "cpu")


@pytest.mark.parametrize("fault", ["--label-map ravdess-4", "--strict", "--column speaker=nobody"])
def test_a_failed_prepare_says_which_earlier_manifest_the_other_commands_would_read(manifest, fault):
    source = Path("corpus/mine.csv")
    source.write_text(manifest.path.read_text().replace("1F-1-hap.wav", "gone.wav"))
    prepare = ["prepare", "csv", "--root", source, "--label-map", "iemocap-4"]
    manifest.path.rename("kept.csv")
    assert "unchanged" not in fail(*prepare, *fault.split())  # there is none yet
    Path("kept.csv").rename(manifest.path)
    os.utime(manifest.path, (0, datetime(2026, 3, 14, 15, 9).timestamp()))
    written = "cache/manifest.csv is unchanged, and other commands would read it: it was written 2026-03-14 15:09."
    assert fail(*prepare, *fault.split()).endswith(f"\n{written}\n")
    shown = succeed("audit", "--no-audio").stdout
    assert "tones: 16 utterances, 2 folds by session" in shown
    assert "cache/manifest.csv, written 2026-03-14 15:09" in shown
