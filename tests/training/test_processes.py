"""Training in processes started for it: shared by two, disturbed, and on a disk that fills up."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import fail, succeed
from helpers.pipeline import extract_for, metrics
from helpers.several_processes import ASKED, KILLED, in_two, under_torchrun, weights

from mmer_pipeline import paths
from mmer_pipeline.systems.registry import settings_for


@pytest.mark.slow
def test_two_processes_that_share_each_step_train_the_model_that_one_process_trains(tmp_path, tiny_corpus, tiny_text):
    """Without dropout, so that nothing is random but the order and the versions; Moonshine has no dropout."""
    from mmer_pipeline.demo.encoders import tiny_speech_encoder

    manifest = tiny_corpus(tmp_path)
    speech = tiny_speech_encoder(tmp_path / "tiny-moonshine", "moonshine")
    options = {"text_encoder": str(tiny_text), "speech_encoder": str(speech), "augment": "speed-0.9+noise-20"}
    extract_for(settings_for("mmer", fold=1, **options), manifest)

    def command(run):
        return [
            *("train", "--run", run, "--fold", "1", "--quiet", "--epochs", "2", "--learning-rate", "1e-3"),
            *("--dropout", "0", "--batch-size", "3", "--augment", options["augment"]),
            *("--text-encoder", str(tiny_text), "--speech-encoder", str(speech)),
            *("evaluate", "--run", run, "--fold", "1"),
        ]

    succeed(*command("one"))
    assert [code for code, _ in in_two(command("two"))] == [0, 0]
    for one, two in zip(metrics("runs/one"), metrics("runs/two"), strict=True):
        assert two["train"]["ce"] == pytest.approx(one["train"]["ce"], rel=1e-4)
        assert two["train"]["ctc"] == pytest.approx(one["train"]["ctc"], rel=1e-4)
        assert two["held_out"]["confusion"] == one["held_out"]["confusion"]
    one, two = (json.loads(paths.fold(Path("runs") / run, 1).evaluation.read_text()) for run in ("one", "two"))
    assert two["metrics"]["confusion"] == one["metrics"]["confusion"]


@pytest.mark.slow
def test_two_processes_score_with_the_statistics_of_batch_norm_that_are_saved(corpus):
    """Each process has seen other utterances of a step; the second one scores half of the held-out part."""
    options = {"inputs": "log-mel", "epochs": 1, "batch_size": 4}
    extract_for(settings_for("morais", fold=1, **options), corpus)
    words = ["--run", "two", "--fold", "1"]
    command = ["train", *words, "--system", "morais", "--inputs", "log-mel", "--epochs", "1", "--batch-size", "4"]
    assert [code for code, _ in in_two(command)] == [0, 0]
    succeed("evaluate", *words)
    evaluation = json.loads(paths.fold(Path("runs/two"), 1).evaluation.read_text())
    (epoch,) = metrics("runs/two")
    assert evaluation["metrics"]["ece"] == pytest.approx(epoch["held_out"]["ece"], rel=1e-4)


@pytest.mark.slow
def test_a_disk_that_fills_up_while_the_state_is_saved_is_one_message(corpus, tiny_text, tiny_speech):
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"  # a larger file fails like a full disk
        "from stages.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    encoders = ["--text-encoder", str(tiny_text), "--speech-encoder", str(tiny_speech)]
    answer = subprocess.run(
        [sys.executable, "-c", code, "train", *encoders, "--manifest", str(corpus.path), "--fold", "1"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert answer.returncode == 1, answer.stderr
    assert "The disk is full" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not list(paths.fold(Path("runs/mmer"), 1).state.glob("*"))


@pytest.mark.slow
def test_two_processes_that_are_stopped_killed_and_started_again_train_the_undisturbed_model(corpus, encoders):
    """A state is saved in the middle of each epoch and at its end."""

    def command(run):
        return [
            *("train", "--manifest", str(corpus.path), "--run", run, "--fold", "1", "--epochs", "2"),
            *("--batch-size", "2", "--save-minutes", "0", *encoders),
        ]

    assert [code for code, _ in in_two(command("whole"))] == [0, 0]
    for code, said in in_two(command("disturbed"), ASKED):
        assert code == 1
        assert "Error: Stopped in epoch 1 after 2 steps. The state is saved" in said
    (code, said), (other_code, _) = in_two(command("disturbed"), KILLED)
    assert (code, other_code) == (1, -signal.SIGKILL)
    assert "Error: The connection to another process of this command broke" in said
    assert "Traceback" not in said
    code, said = under_torchrun(command("disturbed"), KILLED)
    assert code == 0, said
    assert metrics("runs/disturbed") == metrics("runs/whole")
    assert weights("disturbed") == weights("whole")
    assert "processes: 2 → 1" in fail(*command("disturbed"))
