"""Packing gives the same bytes each time, is complete, and overwrites nothing else; and the upload."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from helpers.trained_runs import change_settings, copy_run, model, recognizer, tone
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError, HTTPError

from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction.card_facts import Score
from mmer_pipeline.prediction.packing import CrossValidation, pack, push
from mmer_pipeline.prediction.trained_model import find_model, model_of_run, read_packed_model

RUNS = Path("runs")
SCORES = CrossValidation(
    (Score("WA", "accuracy", 0.75, 0.1, 0.76, 0.7, 0.8), Score("UA", "recall", 0.7, 0.1, 0.71, None, None)),
    "folds", ("1", "2"), (1,),
)  # fmt: skip
HELLO = "Hello there"


def packed(trained_model, directory="packed", **options):
    pack(trained_model, Path(directory), **{"cross_validation": None, **options})
    return read_packed_model(Path(directory))


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in Path(directory).rglob("*") if path.is_file()}


def names(directory):
    return sorted(path.as_posix() for path in contents(directory))


def probabilities(trained_model):
    return recognizer(trained_model).predict([tone(1.0)], [HELLO])[0].probabilities


def test_the_same_model_gives_the_same_bytes_in_any_directory(trained):
    for directory in ("one", "deep/other name", "one"):
        packed(model(trained), directory, cross_validation=SCORES)
    assert contents("one") == contents("deep/other name")
    assert [path.name for path in Path.cwd().rglob("*.tmp")] == []


def test_a_packed_model_knows_no_place_on_this_machine(trained, tiny_text):
    packed(model(trained), cross_validation=SCORES)
    for path, content in contents("packed").items():
        if path.parts[0] != "text_encoder" and path.suffix in (".json", ".md"):
            for place in (trained, tiny_text, Path.cwd(), Path.home()):
                assert str(place) not in content.decode(), path


def test_the_files_of_a_packed_model(trained):
    packed(model(trained))
    assert [name for name in names("packed") if not name.startswith("text_encoder/")] == [
        "README.md",
        "mmer_model.json",
        "model/config.json",
        "model/model.safetensors",
    ]
    assert {"text_encoder/config.json", "text_encoder/model.safetensors", "text_encoder/tokenizer.json"} <= set(
        names("packed")
    )


def test_a_packed_model_predicts_as_its_run_does(trained):
    assert probabilities(packed(model(trained))) == probabilities(model(trained))


def test_it_is_complete_when_the_run_and_its_text_encoder_are_gone(trained, tiny_text):
    run = copy_run(trained, "mmer")
    shutil.copytree(tiny_text, "encoder")
    change_settings(run, 1, text_encoder=str(Path("encoder").absolute()))
    packed(model_of_run(run, [1]))
    shutil.rmtree("encoder")
    shutil.rmtree(run)
    Path("packed").rename("moved")
    assert probabilities(find_model("moved", RUNS)) == probabilities(model(trained))


def test_an_ensemble_averages_the_probabilities_of_its_folds(trained):
    ensemble = packed(model(trained, "mmer", 1, 2))
    assert {name.partition("/")[0] for name in names("packed")} == {
        "README.md", "fold-1", "fold-2", "mmer_model.json", "text_encoder",
    }  # fmt: skip
    alone = [list(probabilities(model(trained, "mmer", fold)).values()) for fold in (1, 2)]
    np.testing.assert_allclose(list(probabilities(ensemble).values()), np.mean(alone, axis=0), rtol=1e-12)
    gates = [recognizer(each).predict([tone(1.0)], [HELLO])[0].gate for each in (model(trained), ensemble)]
    assert gates[0] != gates[1]


def test_an_ensemble_of_a_fold_and_the_model_of_everything(trained):
    ensemble = packed(model(trained, "all", 1, 0))
    assert [(member.fold, member.directory.name) for member in ensemble.members] == [(1, "fold-1"), (0, "fold-none")]
    assert "fold 1, without session 1; trained on everything" in Path("packed/README.md").read_text()


@pytest.mark.parametrize(
    ("run", "has_text"),
    [("cai", False), ("roberta", True), ("tuned", True), ("no-gate", True), ("mmer-tuned", True)],
)
def test_every_system_is_packed(trained, run, has_text):
    found = packed(model(trained, run))
    assert Path("packed/text_encoder").is_dir() == has_text
    assert probabilities(found) == probabilities(model(trained, run))
    card = Path("packed/README.md").read_text()
    assert ("text encoder" in card) == has_text


def test_the_model_card_can_be_read(trained):
    packed(model(trained, "mmer", 1, 2), cross_validation=SCORES)
    card = ModelCard.load("packed/README.md")
    assert card.data.library_name == "mmer-pipeline"
    assert card.data.base_model is None  # local encoders are no models of the hub
    assert [result.metric_value for result in card.data.eval_results] == [0.75, 0.7]
    assert "not of this ensemble" in card.text
    assert "tiny-text (a local directory)" in card.text
    assert "fold 1, without session 1; fold 2, without session 2" in card.text
    description = json.loads(Path("packed/mmer_model.json").read_text())
    assert description["cross_validation"]["folds"] == ["1", "2"]


def test_the_card_of_a_model_without_words_does_not_speak_of_transcribing(trained):
    trained_model = model(trained)
    settings = replace(trained_model.settings, transcripts="none")
    packed(replace(trained_model, settings=settings))
    card = Path("packed/README.md").read_text()
    assert "It reads a recording, and answers" in card
    assert "transcribed by" not in card
    assert "give the transcripts" not in card
    assert "ASR" not in card


# --- encoders ---------------------------------------------------------------------------------------------


@pytest.fixture
def hub_encoder(trained, tiny_text, monkeypatch):
    """A run whose text encoder is named by an id on the hub, and the commits that are downloaded."""
    commits = []

    def download(name, revision, allow_patterns):
        commits.append(revision)
        return shutil.copytree(tiny_text, "hub/abc123", dirs_exist_ok=True)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    run = copy_run(trained, "mmer")
    change_settings(run, 1, text_encoder="some/encoder")
    return run, commits


def test_an_encoder_with_an_id_is_named_and_not_copied(hub_encoder):
    run, commits = hub_encoder
    found = packed(model_of_run(run, [1]))
    assert not Path("packed/text_encoder").exists()
    assert (found.text.name, found.text.revision) == ("some/encoder", "abc123")
    commits.clear()
    probabilities(found)
    assert set(commits) == {"abc123"}
    assert ModelCard.load("packed/README.md").data.base_model == ["some/encoder"]


def test_an_encoder_with_an_id_is_copied_on_request(hub_encoder, trained):
    run, commits = hub_encoder
    packed(model_of_run(run, [1]), include_encoders=True)
    commits.clear()
    shutil.rmtree("hub")
    assert probabilities(find_model("packed", RUNS)) == probabilities(model(trained))
    assert commits == []
    description = json.loads(Path("packed/mmer_model.json").read_text())["text_encoder"]
    assert (description["name"], description["revision"]) == ("some/encoder", "abc123")


def test_an_encoder_that_changed_since_the_training_is_not_packed(trained, tiny_text):
    run = copy_run(trained, "mmer")
    shutil.copytree(tiny_text, "encoder")
    change_settings(run, 1, text_encoder=str(Path("encoder").absolute()))
    config = Path("encoder/config.json")
    config.write_text(config.read_text() + "\n")
    with pytest.raises(UserError, match="is not the one that the model was trained with"):
        packed(model_of_run(run, [1]))
    assert not Path("packed").exists()


# --- the directory ----------------------------------------------------------------------------------------


def test_an_earlier_pack_is_replaced(trained):
    packed(model(trained, "mmer", 1, 2))
    packed(model(trained, "cai"))
    assert names("packed") == ["README.md", "mmer_model.json", "model/config.json", "model/model.safetensors"]


@pytest.mark.parametrize("content", ["notes.txt", None])
def test_another_directory_is_not_replaced(trained, content):
    Path("packed").mkdir()
    if content:
        Path("packed", content).write_text("mine")
    with pytest.raises(UserError, match=r"packed exists and is no packed model\. Give a new directory with --output"):
        packed(model(trained))
    assert [path.name for path in Path("packed").iterdir()] == ([content] if content else [])


def test_a_file_is_not_replaced(trained):
    Path("packed").write_text("mine")
    with pytest.raises(UserError, match="packed exists and is no packed model"):
        packed(model(trained))
    assert Path("packed").read_text() == "mine"


def test_a_packed_model_with_other_files_is_not_replaced(trained):
    packed(model(trained))
    Path("packed/.git").mkdir()
    Path("packed/notes.txt").write_text("mine")
    before = contents("packed")
    with pytest.raises(
        UserError, match=r"packed contains files that are not part of a packed model: \.git, notes\.txt"
    ):
        packed(model(trained, "cai"))
    assert contents("packed") == before


def test_a_link_is_kept_and_the_working_directory_too(trained, monkeypatch):
    packed(model(trained, "cai"), "one")
    Path("link").symlink_to("one")
    packed(model(trained), "link")
    assert Path("link").is_symlink()
    assert read_packed_model(Path("one")).settings.system == "mmer"
    monkeypatch.chdir("one")
    with pytest.raises(UserError, match="is the working directory, which packing would replace"):
        pack(model(trained, "cai"), Path(), cross_validation=None)
    assert read_packed_model(Path()).settings.system == "mmer"


def test_a_system_from_a_file_is_refused(trained):
    trained_model = model(trained)
    settings = replace(trained_model.settings, system="/somewhere/mine.py:last-frame")
    with pytest.raises(UserError, match=r"System last-frame comes from a file.*Register it as an entry point"):
        packed(replace(trained_model, settings=settings))
    assert not Path("packed").exists()


# --- upload -----------------------------------------------------------------------------------------------


class FakeHub:
    """Stands for huggingface_hub.HfApi: keeps what was uploaded, or fails as the hub would."""

    uploaded: dict[str, dict[Path, bytes]]
    calls: list[dict]
    error: Exception | None = None

    def __init__(self, token=None):
        self.token = token

    def create_repo(self, repo_id, *, private, exist_ok):
        if self.error:
            raise self.error
        huggingface_hub.utils.validate_repo_id(repo_id)
        self.calls.append({"private": private, "exist_ok": exist_ok, "token": self.token})
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, commit_message, delete_patterns):
        assert commit_message == "Upload mmer"
        before = self.uploaded.get(repo_id, {})
        doomed = set(huggingface_hub.utils.filter_repo_objects(map(str, before), allow_patterns=delete_patterns))
        kept = {path: content for path, content in before.items() if str(path) not in doomed}
        self.uploaded[repo_id] = {**kept, **contents(folder_path)}


@pytest.fixture
def hub(monkeypatch):
    """The fake hub, where somebody is logged in."""
    FakeHub.uploaded, FakeHub.calls, FakeHub.error = {}, [], None
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_someone")
    return FakeHub


def test_all_files_are_uploaded(trained, hub):
    found = packed(model(trained))
    assert push(found, "user/name") == "https://huggingface.co/user/name"
    assert hub.uploaded == {"user/name": contents("packed")}
    assert Path("text_encoder/model.safetensors") in hub.uploaded["user/name"]
    assert hub.calls == [{"private": False, "exist_ok": True, "token": None}]


def test_another_upload_leaves_no_file_of_members_that_are_gone(trained, hub):
    push(packed(model(trained, "mmer", 1, 2), include_encoders=True), "user/name")
    assert Path("fold-2/model.safetensors") in hub.uploaded["user/name"]
    hub.uploaded["user/name"][Path("LICENSE")] = b"theirs"
    push(packed(model(trained)), "user/name")
    assert hub.uploaded["user/name"] == {**contents("packed"), Path("LICENSE"): b"theirs"}


def test_a_recognizer_uploads_its_model(trained, hub):
    address = recognizer(packed(model(trained))).push_to_hub("user/name", private=True, token="hf_mine")
    assert address == "https://huggingface.co/user/name"
    assert hub.calls == [{"private": True, "exist_ok": True, "token": "hf_mine"}]


def test_a_run_is_not_uploaded(trained, hub):
    with pytest.raises(
        UserError, match=r"mmer is a run\. Pack it first: `mmer-pipe pack mmer --push-to-hub USER/NAME`"
    ):
        push(model(trained), "user/name")
    assert not hub.uploaded


def test_who_is_not_logged_in_learns_how(trained, hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UserError, match=r"You are not logged in to the hub\. Run `hf auth login`"):
        push(packed(model(trained)), "user/name")
    assert not hub.calls


@pytest.mark.parametrize("name", ["a/b/c", "user/na me", "user/.."])
def test_a_wrong_id_is_named(trained, hub, name):
    with pytest.raises(
        UserError, match=rf"'{re.escape(name)}' is no id of a repository on the hub .*Expected user/name"
    ):
        push(packed(model(trained)), name)


@pytest.mark.parametrize(
    "error", [HTTPError("[Errno 111] Connection refused"), ConnectionError("offline"), OSError("a\nb")]
)
def test_a_failed_upload_is_one_message(trained, hub, error):
    hub.error = error
    with pytest.raises(UserError, match=r"user/name could not be uploaded: [^\n]+\. Check the network, the name, and"):
        push(packed(model(trained)), "user/name")
    assert issubclass(HfHubHTTPError, HTTPError)


def test_without_a_network_the_upload_is_one_message(trained, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_someone")
    with pytest.raises(UserError, match=r"user/name could not be uploaded: .*offline"):
        push(packed(model(trained)), "user/name")
