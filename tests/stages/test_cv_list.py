"""cv: its list of systems and what it makes of it: entries, runs, seeds, jobs."""

import shutil
from pathlib import Path

import click
import pytest
from helpers.command_line import fail, invoke

from mmer_pipeline.errors import UserError
from mmer_pipeline.systems.catalogue import NAMED_LISTS
from stages import cv, system_list

REPOSITORY = Path(__file__).resolve().parents[2]


def test_an_entry_is_a_system_with_options_of_train_behind_colons():
    entry = system_list.Entry.parse("mmer:alpha=0.01:no-gate:pooled=speech")
    assert (entry.system, entry.run) == ("mmer", "mmer-alpha-0.01-no-gate-pooled-speech")
    assert entry.options == {"alpha": 0.01, "gate": False, "pooled": "speech"}
    assert system_list.Entry.parse("roberta:finetune-text").options == {"finetune_text": True}
    assert system_list.Entry.parse("mmer").options == {}
    assert system_list.Entry.parse("mmer:patience=5").options == {"patience": 5}  # --validation may be given for all
    assert system_list.Entry.parse("wav2vec2:speech-encoder=some/model").run == "wav2vec2-speech-encoder-some-model"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mmre", "there is no system 'mmre'"),
        ("mmer:alhpa=1", "No such option '--alhpa'"),
        ("mmer:alpha=much", "not a valid float"),
        ("mmer:alpha=-1", "not in the range"),
        ("mmer:pooled=all", "not one of"),
        ("mmer:alpha", "requires an argument"),
        ("mmer:no-gate=1", "does not take a value"),
        ("mmer:fold=2", "No such option"),
        ("mmer:seed=2", "No such option"),
        ("mmer:system=cai", "No such option"),
        ("mmer:run=a", "No such option"),
        ("mmer:device=cpu", "No such option"),
        ("mmer:help", "No such option"),
        ("mmer:", "expected a setting after each colon"),
        ("cai:no-gate", "System cai has no setting gate"),
        ("wav2vec2:finetune-text", "it applies to mmer and roberta"),
    ],
)
def test_an_entry_that_train_would_refuse_is_a_usage_error_that_names_it(text, said):
    shown = " ".join(fail("cv", "--systems", f"roberta,{text}", code=2).replace("│", " ").split())
    assert said.lower() in shown.lower()
    assert repr(text) in shown


@pytest.mark.parametrize(
    ("systems", "said"),
    [
        ("mmer,mmer", "'mmer' appears twice"),
        ("mmer:text-encoder=a/b,mmer:text-encoder=a-b", "would be the same run"),
        ("mmer,,cai", "expected a value between commas"),
    ],
)
def test_the_same_run_twice_is_refused(systems, said):
    assert said in fail("cv", "--systems", systems, code=2)


@pytest.mark.parametrize("seeds", ["1,1", "one", "-1", "1,", "1.5"])
def test_seeds_are_different_whole_numbers(seeds):
    assert "--seeds" in fail("cv", "--seeds", seeds, code=2)


def test_named_lists_stand_for_their_entries_and_share_some():
    both = system_list.parse_systems(None, None, "table-1,ablations")
    texts = [entry.text for entry in both]
    assert len(texts) == len(set(texts)) < sum(len(NAMED_LISTS[name].split(",")) for name in ("table-1", "ablations"))
    assert {"roberta:finetune-text", "mmer:no-r-branch", "mmer:alpha=0"} <= set(texts)


def test_the_list_of_transcripts_has_four_entries_that_are_four_runs(tmp_path, tiny_corpus):
    entries = system_list.parse_systems(None, None, "transcripts")
    assert [(entry.run, entry.options) for entry in entries] == [
        ("mmer", {}),
        ("mmer-transcripts-asr", {"transcripts": "asr"}),
        ("mmer-test-transcripts-asr", {"test_transcripts": "asr"}),
        ("mmer-transcripts-none", {"transcripts": "none"}),
    ]
    jobs = corpus_jobs(tiny_corpus(tmp_path), "transcripts", numbers=[1])
    assert [job.settings.sources for job in jobs] == [
        *(("gold", "gold"), ("asr", "asr"), ("gold", "asr"), ("none", "none")),
    ]


@pytest.mark.parametrize("number", ["none", "0", "-1"])
def test_only_folds_that_hold_something_out_are_cross_validated(number):
    assert "Invalid value for '--fold'" in fail("cv", "--fold", number, code=2)
    said = "--fold none: this model holds nothing out" if number == "none" else "Invalid value for '--fold'"
    assert said in fail("evaluate", "--fold", number, code=2)


def test_options_that_do_not_go_together_are_usage_errors():
    assert "give only one" in fail("cv", "--jobs", 2, "--scheduler", "tcp://127.0.0.1:9", code=2)
    assert "--resource applies only" in fail("cv", "--resource", "GPU=1", code=2)
    assert "NAME=AMOUNT" in fail("cv", "--scheduler", "tcp://x", "--resource", "GPU", code=2)


def test_cv_inherits_the_settings_of_train_in_mmer_toml(monkeypatch):
    Path("mmer.toml").write_text(
        'runs-dir = "r"\n[train]\nepochs = 7\nalpha = 0.5\nsystem = "cai"\nrun = "x"\nseed = 9\n'
        '[cv]\nsystems = ["mmer", "cai:alpha=1"]\nseeds = [1, 2]\nalpha = 0.25\n'
    )
    found = {}

    def look(*_, **__):
        found.update(click.get_current_context().params)
        raise UserError("That was all.")

    monkeypatch.setattr("mmer_pipeline.corpora.manifest.read_manifest", look)
    assert "That was all" in fail("cv", "--batch-size", 4)
    assert (found["epochs"], found["alpha"], found["batch_size"], found["seeds"]) == (7, 0.25, 4, [1, 2])
    assert [entry.text for entry in found["entries"]] == ["mmer", "cai:alpha=1"]


def test_audit_inherits_folds_and_encoders_from_train_in_mmer_toml(monkeypatch):
    Path("mmer.toml").write_text('[train]\nfolds = "speaker"\ntext-encoder = "a/b"\npreset = "small"\nepochs = 3\n')
    found = {}

    def look(*_, **__):
        found.update(click.get_current_context().params)
        raise UserError("That was all.")

    monkeypatch.setattr("mmer_pipeline.corpora.manifest.read_manifest", look)
    assert "That was all" in fail("audit")
    assert (found["folds"], found["text_encoder"]) == ("speaker", "a/b")
    assert found["speech_encoder"] == "embedded/moonshine-tiny"


@pytest.mark.parametrize("command", ["audit", "train", "cv"])
def test_mmer_toml_may_give_a_number_of_folds_without_quotation_marks(monkeypatch, command):
    Path("mmer.toml").write_text("[train]\nfolds = 5\n")
    found = {}

    def look(*_, **__):
        found.update(click.get_current_context().params)
        raise UserError("That was all.")

    monkeypatch.setattr("mmer_pipeline.corpora.manifest.read_manifest", look)
    assert "That was all" in fail(command)
    assert found["folds"] == "5"


def corpus_jobs(corpus, systems, seeds=(1,), numbers=(), **options):
    base = {"text_encoder": "roberta-base", "speech_encoder": "facebook/wav2vec2-base", "folds": "session"}
    return cv._jobs(system_list.parse_systems(None, None, systems), seeds, numbers, corpus, {**base, **options})


def test_every_fold_of_all_systems_comes_first_with_the_first_seed(tmp_path, tiny_corpus):
    jobs = corpus_jobs(tiny_corpus(tmp_path), "mmer:alpha=0,cai", seeds=[3, 1])
    assert [(job.run, job.settings.fold) for job in jobs] == [
        *(("mmer-alpha-0-seed3", 1), ("mmer-alpha-0-seed3", 2), ("cai-seed3", 1), ("cai-seed3", 2)),
        *(("mmer-alpha-0", 1), ("mmer-alpha-0", 2), ("cai", 1), ("cai", 2)),
    ]
    assert [job.settings.alpha for job in jobs[:3]] == [0.0, 0.0, 0.1]


def test_two_entries_with_the_same_settings_are_refused_and_so_is_a_fold_that_is_not_there(tmp_path, tiny_corpus):
    corpus = tiny_corpus(tmp_path)
    with pytest.raises(click.UsageError, match=r"'mmer:alpha=0\.1' and 'mmer' have the same settings"):
        corpus_jobs(corpus, "mmer,mmer:alpha=0.1")
    with pytest.raises(UserError, match="There is no fold 7"):
        corpus_jobs(corpus, "mmer", numbers=[7])


def test_a_job_names_encoder_directories_by_their_whole_path(tmp_path, tiny_corpus):
    Path("encoder").mkdir()
    job = corpus_jobs(tiny_corpus(tmp_path), "mmer:text-encoder=encoder")[0]
    assert job.settings.text_encoder == str(tmp_path / "encoder")
    assert job.settings.speech_encoder == "facebook/wav2vec2-base"


def test_a_system_without_a_ctc_head_has_no_alpha_of_its_own():
    with pytest.raises(click.BadParameter, match="wav2vec2 has no CTC head"):
        system_list.Entry.parse("wav2vec2:alpha=0.5")


def test_a_fold_that_is_named_twice_is_one_job_and_a_repeated_seed_is_refused(tmp_path, tiny_corpus):
    assert len(corpus_jobs(tiny_corpus(tmp_path), "mmer", numbers=[2, 2])) == 1
    assert "a seed appears twice" in invoke("cv", "--seeds", "1,01").stderr


def test_two_models_whose_results_would_lie_in_one_file_are_refused(tiny_corpus, tiny_text, tmp_path):
    tiny_corpus(tmp_path)
    for name in ("a", "b"):
        shutil.copytree(tiny_text, f"{name}/model")
    for systems in (
        "roberta:transcripts=asr:asr-model=a/model,roberta:transcripts=asr:asr-model=b/model",
        f"roberta:text-encoder={tiny_text},roberta:text-encoder={tiny_text}:text-revision=main",
    ):
        result = invoke("cv", "--systems", systems)
        assert result.exit_code == 1
        assert "would be stored in the same file" in result.stderr


@pytest.mark.parametrize("against", ["cai", "mmer-alpha-0.1", "roberta"])
def test_a_reference_that_is_not_among_the_systems_is_refused_before_anything_is_trained(against):
    said = fail("cv", "--systems", "mmer,mmer:alpha=0.2", "--against", against, code=2)
    assert f"--against {against}: expected one of at least two --systems, found mmer, mmer-alpha-0.2." in said


def test_a_reference_alone_is_refused():
    assert "expected one of at least two --systems, found mmer." in fail(
        "cv", "--systems", "mmer", "--against", "mmer", code=2
    )
