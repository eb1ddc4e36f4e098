"""Finding a model: in a run, in a packed directory, on the hub; and one clear message for everything that is wrong."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from helpers.run_example import edit_json
from helpers.trained_runs import change_settings, copy_run

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction.packing import pack
from mmer_pipeline.prediction.trained_model import find_model, model_of_run, packed_settings, read_packed_model
from mmer_pipeline.settings import Settings

RUNS = Path("runs")
HERE = Path("packed")


@pytest.fixture
def packed(trained):
    """A packed model of fold 1 in the working directory."""
    pack(model_of_run(trained / "runs/mmer", [1]), HERE, cross_validation=None)
    return HERE


def edit(path, **changes):
    edit_json(path, lambda value: value.update(changes))


def folds(model):
    return [member.fold for member in model.members]


# --- runs -------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_name_and_by_its_path(trained):
    by_name = find_model("mmer", trained / "runs")
    assert by_name == find_model(str(trained / "runs" / "mmer"), Path("elsewhere"))
    assert (by_name.name, by_name.corpus, by_name.utterances) == ("mmer", "tones", 16)
    assert by_name.labels == ("happy", "angry", "neutral", "sad")
    assert by_name.packed is None
    assert by_name.versions["mmer-pipeline"]


def test_the_working_directory_may_be_the_run(trained, monkeypatch):
    monkeypatch.chdir(trained / "runs" / "mmer")
    assert find_model(".", RUNS).name == "mmer"


def test_the_folds_of_a_run_are_an_ensemble(trained):
    model = find_model("mmer", trained / "runs")
    assert [(member.fold, member.held_out) for member in model.members] == [(1, "1"), (2, "2")]


def test_folds_can_be_chosen_and_count_once(trained):
    assert folds(find_model("mmer", trained / "runs", (2,))) == [2]
    assert folds(find_model("mmer", trained / "runs", (2, 1, 2))) == [2, 1]


def test_the_model_that_was_trained_on_everything_goes_before_the_ensemble(trained):
    model = find_model("all", trained / "runs")
    assert [(member.fold, member.held_out) for member in model.members] == [(0, "")]
    assert model.utterances == 16
    assert folds(find_model("all", trained / "runs", (1,))) == [1]


def test_what_systems_read(trained):
    models = {name: find_model(name, trained / "runs") for name in ("mmer", "cai", "roberta")}
    reads = {name: (model.reads_text, model.reads_speech) for name, model in models.items()}
    assert reads == {"mmer": (True, True), "cai": (False, True), "roberta": (True, False)}
    assert models["cai"].text is None


def test_a_fold_that_is_not_trained_is_named_with_its_command(trained):
    run = copy_run(trained, "mmer")
    with pytest.raises(UserError, match=r"Fold 7 of runs/mmer is not trained\. Run `mmer-pipe train --run mmer --fold"):
        find_model("mmer", RUNS, (7,))
    with pytest.raises(UserError, match="Fold none of runs/mmer is not trained"):
        find_model("mmer", RUNS, (0,))
    paths.fold(run, 2).weights.unlink()
    with pytest.raises(UserError, match=r"--run mmer --fold 2 .*--epochs 2 --learning-rate 0\.001"):
        find_model("mmer", RUNS, (2,))
    assert folds(find_model("mmer", RUNS)) == [1]


def test_a_run_without_trained_folds_is_named_with_its_command():
    Path("runs/mine").mkdir(parents=True)
    with pytest.raises(UserError, match=r"runs/mine has no trained folds\. Run `mmer-pipe train --run mine`"):
        find_model("mine", RUNS)


def test_folds_of_different_settings_are_not_mixed(trained):
    run = copy_run(trained, "mmer")
    change_settings(run, 2, learning_rate=0.5)
    with pytest.raises(UserError, match=r"different settings.*\n  learning_rate: 0\.001 → 0\.5\nChoose folds"):
        find_model("mmer", RUNS)
    assert folds(find_model("mmer", RUNS, (2,))) == [2]


def test_the_text_encoder_of_a_run_is_the_one_of_its_training(trained, tiny_text):
    run = copy_run(trained, "mmer")
    shutil.copytree(tiny_text, "encoder")
    for fold in (1, 2):
        change_settings(run, fold, text_encoder=str(Path("encoder").absolute()))
    model = find_model("mmer", RUNS)
    assert model.text.files().directory == Path("encoder").absolute()
    config = Path("encoder/config.json")
    config.write_text(config.read_text() + "\n")
    with pytest.raises(
        UserError, match=r"is not the one that the model was trained with: expected the digest \w+, fou"
    ):
        find_model("mmer", RUNS).text.files()


def test_the_text_encoder_of_a_run_is_looked_for_at_the_commit_of_its_training(trained, tiny_text, monkeypatch):
    commits = []

    def download(name, revision, allow_patterns):
        commits.append(revision)
        return shutil.copytree(tiny_text, f"hub/{revision}", dirs_exist_ok=True)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    run = copy_run(trained, "all")
    change_settings(run, 0, text_encoder="some/encoder")
    edit_json(paths.fold(run, 0).settings, lambda record: record["facts"]["revisions"].update(text="abc123"))
    model = find_model("all", RUNS)
    assert (model.text.name, model.text.revision) == ("some/encoder", "abc123")
    model.text.files()
    assert set(commits) == {"abc123"}


# --- packed models ----------------------------------------------------------------------------------------


def test_a_packed_directory_is_found_by_its_path(packed, trained):
    model = find_model("packed", RUNS)
    assert find_model(str(packed.absolute()), RUNS).members[0].directory == packed.absolute() / "model"
    original = model_of_run(trained / "runs/mmer", [1])
    assert model.packed == packed
    assert model.digest == original.digest
    assert (model.name, model.labels, model.corpus) == (original.name, original.labels, original.corpus)
    assert (model.utterances, model.versions) == (original.utterances, original.versions)
    assert model.settings == replace(original.settings, text_encoder="tiny-text", speech_encoder="tiny-speech")


def test_a_packed_directory_goes_before_a_run_of_its_name(trained):
    copy_run(trained, "mmer")
    pack(model_of_run(trained / "runs/all"), Path("mmer"), cross_validation=None)
    assert find_model("mmer", RUNS).name == "all"


def test_folds_and_revisions_are_not_for_packed_models(packed, trained):
    with pytest.raises(UserError, match="packed is a packed model; --fold applies only to runs"):
        find_model("packed", RUNS, (1,))
    for name in ("packed", "mmer"):
        with pytest.raises(UserError, match=f"{name} is a local directory: a revision applies only to models on the"):
            find_model(name, trained / "runs", revision="main")


@pytest.mark.parametrize(
    "name",
    [
        *("mmre", "", ".", "..", "../elsewhere", "./user/name", "/nowhere", "~/nowhere", "a/b/c"),
        *("~nobody-of-this-name/x", "a" * 300, "a" * 5000),
    ],
)
def test_an_unknown_name_lists_the_runs(trained, name):
    with pytest.raises(
        UserError, match=r"There is no model '.*\. Expected .*\. Trained runs: all, cai, mmer, mmer-tuned"
    ):
        find_model(name, trained / "runs")


def test_a_directory_without_a_model_is_not_looked_for_on_the_hub():
    Path("user/name").mkdir(parents=True)
    with pytest.raises(UserError, match=r"There is no model 'user/name'\. .* Trained runs: none\."):
        find_model("user/name", RUNS)
    with pytest.raises(UserError, match=r"user/name is no packed model: it has no mmer_model\.json"):
        read_packed_model(Path("user/name"))


def test_an_id_on_the_hub_needs_the_network():
    with pytest.raises(
        UserError, match=r"No model user/name: there is no directory .* with network access, or give a l"
    ):
        find_model("user/name", RUNS)


def test_a_model_on_the_hub_is_found_by_its_id(packed, monkeypatch):
    asked = []

    def download(name, revision, allow_patterns):
        asked.append((name, revision, allow_patterns))
        return str(packed)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_model("user/name", RUNS, revision="v1").digest == find_model("packed", RUNS).digest
    assert asked == [("user/name", "v1", ["*"])]
    with pytest.raises(UserError, match="user/name is a packed model; --fold"):
        find_model("user/name", RUNS, (1,))
    assert len(asked) == 1  # nothing is downloaded in vain


def test_a_model_of_another_schema_says_what_to_do(packed):
    edit(packed / "mmer_model.json", schema=2, version="9.9")
    with pytest.raises(UserError, match=r"has schema 2 \(mmer-pipeline 9\.9\), expected 1\. Pack the model again with"):
        read_packed_model(packed)


def test_a_model_with_settings_of_another_version_names_them(packed):
    settings = json.loads((packed / "mmer_model.json").read_text())["settings"]
    edit(packed / "mmer_model.json", settings=settings | {"warmth": 3, "brightness": 1})
    with pytest.raises(UserError, match=r"contains settings unknown to this version: brightness, warmth\. Pack"):
        read_packed_model(packed)


@pytest.mark.parametrize("content", ["", "{", "\x00", "[1, 2", '{"schema": 1e'])
def test_a_description_that_is_not_json_is_named(packed, content):
    (packed / "mmer_model.json").write_text(content)
    with pytest.raises(UserError, match=r"packed/mmer_model\.json is not readable JSON"):
        read_packed_model(packed)


@pytest.mark.parametrize("content", ["3", "[]", "null", "{}", '{"schema": "1"}'])
def test_a_description_of_another_kind_is_named(packed, content):
    (packed / "mmer_model.json").write_text(content)
    expected = r"has schema \w+ \(mmer-pipeline unknown\), expected 1|contains \w+, expected an object"
    with pytest.raises(UserError, match=expected):
        read_packed_model(packed)


BROKEN = {"settings": 3, "labels": None, "members": "abc", "text_encoder": "roberta", "utterances": "many"}


@pytest.mark.parametrize(
    "change",
    [*({key: value} for key, value in BROKEN.items()), {"members": []}, {"settings": {"fold": 1, "system": 3}}],
    ids=str,
)
def test_a_description_with_a_wrong_value_is_damaged(packed, change):
    edit(packed / "mmer_model.json", **change)
    with pytest.raises(UserError, match=r"mmer_model\.json (is damaged: .*|has the value 3 .*)\. Pack the model again"):
        read_packed_model(packed)


@pytest.mark.parametrize("key", ["settings", "labels", "members", "text_encoder", "corpus", "versions", "name"])
def test_a_description_that_lacks_a_value_is_damaged(packed, key):
    edit_json(packed / "mmer_model.json", lambda value: value.pop(key))
    with pytest.raises(UserError, match=rf"is damaged: {key} is missing"):
        read_packed_model(packed)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 200_000, "../packed", "/etc", "a\0b", "."])
@pytest.mark.parametrize("part", ["member", "text_encoder"])
def test_a_folder_that_packing_gives_no_name_is_damaged(packed, part, name):
    """One that was longer than a file's name ended in a traceback."""

    def change(value):
        (value["members"][0] if part == "member" else value["text_encoder"])["directory"] = name

    edit_json(packed / "mmer_model.json", change)
    with pytest.raises(UserError, match="is no folder of the packed model") as caught:
        read_packed_model(packed)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["text_encoder", "system", "asr_model", "folds"])
def test_a_setting_that_is_longer_than_a_path_is_damaged(packed, name):
    """It was looked for as a file, which ended in a traceback."""
    edit_json(packed / "mmer_model.json", lambda value: value["settings"].update({name: "x" * 5000}))
    with pytest.raises(UserError, match=rf"has the value 'x+… for {name}, which is not valid") as caught:
        read_packed_model(packed)
    assert len(str(caught.value)) < 300


def test_a_packed_model_runs_no_code_from_a_file(packed):
    Path("evil.py").write_text("raise AssertionError('this code was run')")
    settings = json.loads((packed / "mmer_model.json").read_text())["settings"]
    edit(packed / "mmer_model.json", settings=settings | {"system": f"{Path.cwd()}/evil.py:x"})
    with pytest.raises(UserError, match="whose code would be run"):
        find_model("packed", RUNS)


def test_missing_weights_are_named(packed):
    (packed / "model/model.safetensors").unlink()
    with pytest.raises(UserError, match=r"packed/model/model\.safetensors is missing.*Copy it again"):
        find_model("packed", RUNS)


def test_altered_weights_are_named(packed):
    weights = packed / "model/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged: its digest is not the recorded one"):
        find_model("packed", RUNS)


def test_an_altered_text_encoder_is_named(packed):
    tokenizer = packed / "text_encoder/tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    with pytest.raises(UserError, match=r"The encoder .*/packed/text_encoder is not the one"):
        find_model("packed", RUNS).text.files()


def test_a_missing_copy_of_the_text_encoder_is_not_looked_for_on_the_hub(packed):
    shutil.rmtree(packed / "text_encoder")
    with pytest.raises(UserError, match=r"No encoder at .*/packed/text_encoder: no such directory"):
        find_model("packed", RUNS).text.files()


def test_packed_settings_name_no_place_on_this_machine():
    settings = Settings(1, text_encoder="/home/me/enc", speech_encoder="~/speech", asr_model="./asr")
    packed = packed_settings(settings)
    assert (packed["text_encoder"], packed["speech_encoder"], packed["asr_model"]) == ("enc", "speech", "asr")
    assert packed_settings(Settings(1))["text_encoder"] == "roberta-base"
