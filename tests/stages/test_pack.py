"""`mmer-pipe pack`: what it packs, what its model card says, what it prints and what it refuses."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
from helpers.command_line import fail, succeed
from helpers.trained_runs import copy_run
from huggingface_hub import ModelCard

from mmer_pipeline import paths
from mmer_pipeline.prediction.trained_model import read_packed_model


def members(directory):
    return [member.fold for member in read_packed_model(Path(directory)).members]


def card(directory):
    return ModelCard.load(Path(directory) / "README.md")


def test_the_folds_of_a_run_are_packed_with_the_scores_of_its_cross_validation(trained):
    copy_run(trained, "mmer")
    result = succeed("pack", "mmer")
    assert "Packed an ensemble of 2 folds of mmer: mmer-model (" in result.stderr
    assert result.stderr.endswith("Next: mmer-pipe predict RECORDING --model mmer-model\n")
    assert members("mmer-model") == [1, 2]
    accuracies = [
        json.loads(paths.fold(Path("runs/mmer"), number).evaluation.read_text())["metrics"]["wa"] for number in (1, 2)
    ]
    scores = card("mmer-model").data.eval_results
    assert scores[0].metric_value == pytest.approx(sum(accuracies) / 2, abs=1e-4)
    assert [score.metric_type for score in scores] == ["accuracy", "recall"]
    assert "mean of 2 folds" in card("mmer-model").text
    assert "not of this ensemble" in card("mmer-model").text


def test_the_result_as_json(trained):
    copy_run(trained, "mmer")
    result = json.loads(succeed("pack", "mmer", "--fold", 2, "--output", "out/packed", "--json").stdout)
    size = sum(path.stat().st_size for path in Path("out/packed").rglob("*") if path.is_file())
    assert result == {"path": "out/packed", "bytes": size, "members": 1, "address": None}


def test_a_single_fold_has_its_own_scores(trained):
    copy_run(trained, "mmer")
    assert "Packed fold 2 of mmer" in succeed("pack", "--fold", 2, "mmer").stderr
    assert members("mmer-model") == [2]
    accuracy = json.loads(paths.fold(Path("runs/mmer"), 2).evaluation.read_text())["metrics"]["wa"]
    assert card("mmer-model").data.eval_results[0].metric_value == pytest.approx(accuracy, abs=1e-4)
    assert "of this very model" in card("mmer-model").text


def test_the_model_trained_on_everything_does_not_claim_the_scores(trained):
    copy_run(trained, "all")
    assert "Packed the model trained on everything of all" in succeed("pack", "all").stderr
    assert members("all-model") == [0]
    assert "not of this packed model itself" in card("all-model").text
    succeed("pack", "all", "--fold", "none", "--fold", 1)
    assert members("all-model") == [0, 1]


def test_without_an_evaluation_the_card_has_no_scores(trained):
    run = copy_run(trained, "mmer")
    paths.fold(run, 2).evaluation.unlink()
    message = "No evaluation was found, so the model card has no scores."
    assert message in succeed("pack", "mmer", "--fold", 2).stderr
    assert "How often it is right is not known" in card("mmer-model").text
    assert message not in succeed("pack", "mmer", "--fold", 1).stderr
    paths.fold(run, 1).evaluation.unlink()
    assert message in succeed("pack", "mmer").stderr


def test_runs_of_every_system_are_packed(trained):
    for name in ("cai", "roberta", "tuned", "no-gate"):
        succeed("--runs-dir", trained / "runs", "pack", name)
        assert card(f"{name}-model").data.eval_results


def test_packing_again_changes_nothing(trained):
    def contents():
        return {path: path.read_bytes() for path in Path("mmer-model").rglob("*") if path.is_file()}

    copy_run(trained, "mmer")
    succeed("pack", "mmer")
    before = contents()
    succeed("pack", "mmer")
    assert contents() == before


def test_the_suggested_command_quotes_the_directory(trained):
    copy_run(trained, "mmer")
    shown = succeed("pack", "mmer", "-o", "my model").stderr
    assert shown.endswith("Next: mmer-pipe predict RECORDING --model 'my model'\n")


def test_what_cannot_be_packed_is_one_message(trained):
    assert "There is no run mmre in runs. Runs: none." in fail("pack", "mmre")
    copy_run(trained, "mmer")
    copy_run(trained, "all")
    assert "There is no run mmre in runs. Runs: all, mmer." in fail("pack", "mmre")
    assert "Fold 7 of runs/mmer is not trained. Run `mmer-pipe train --run mmer --fold 7`." in fail(
        "pack", "mmer", "--fold", 7
    )
    assert "is a path" in fail("pack", "runs/mmer", code=2)
    assert "--fold" in fail("pack", "mmer", "--fold", 0, code=2)
    Path("mine").mkdir()
    assert "mine exists and is no packed model" in fail("pack", "mmer", "-o", "mine")
    assert list(Path("mine").iterdir()) == []


def test_a_system_from_a_file_is_refused(manifest, encoders):
    example = Path(__file__).resolve().parents[2] / "examples" / "last_frame.py"
    options = ["--system", f"{example}:last-frame", "--epochs", 1, "--fold", 1]
    succeed("extract", *encoders, "train", *encoders, *options)
    message = fail("pack", "last-frame")
    assert "System last-frame comes from a file, which a packed model cannot bring along." in message


def test_an_upload_names_its_address_or_what_is_missing(trained, monkeypatch):
    uploads = []

    class Hub:
        def __init__(self, token):
            assert token is None

        def create_repo(self, repo_id, **_):
            return f"https://huggingface.co/{repo_id}"

        def upload_folder(self, *, folder_path, **_):
            uploads.append(sorted(path.name for path in folder_path.iterdir()))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    copy_run(trained, "mmer")
    assert "You are not logged in to the hub. Run `hf auth login`" in fail("pack", "mmer", "--push-to-hub", "me/mmer")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_me")
    result = succeed("pack", "mmer", "--push-to-hub", "me/mmer", "--json")
    assert json.loads(result.stdout)["address"] == "https://huggingface.co/me/mmer"
    assert uploads == [["README.md", "fold-1", "fold-2", "mmer_model.json", "text_encoder"]]


def test_a_packed_model_is_used_elsewhere(trained, tiny_text, monkeypatch):
    copy_run(trained, "cai")
    succeed("pack", "cai")
    Path("elsewhere").mkdir()
    shutil.move("cai-model", "elsewhere")
    recording = next((trained / "corpus").rglob("*.wav"))
    monkeypatch.chdir("elsewhere")
    assert json.loads(succeed("predict", recording, "--model", "cai-model", "--json").stdout)["model"] == "cai"
