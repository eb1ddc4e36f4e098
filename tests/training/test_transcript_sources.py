"""Training on words from one source, and testing on words from another."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.asr_models import TONES, hear_tones
from helpers.pipeline import extract_for, metrics, quick_settings, train
from helpers.run_example import edit_json

from mmer_pipeline import paths
from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.feature_file import FeatureFile
from mmer_pipeline.features.required_features import feature_of
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import OPTIONS
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training.build_model import build_model
from mmer_pipeline.training.evaluation import evaluate_fold
from mmer_pipeline.training.examples import SplitRows
from mmer_pipeline.training.fold_inputs import Encoders, ctc_alphabet, make_examples, open_corpus
from mmer_pipeline.training.fold_parts import fold_of
from mmer_pipeline.transcription import transcribe
from stages.system_list import Entry

RUN = Path("runs/mmer")


@pytest.fixture
def settings(tiny_text, tiny_speech):
    """Short epochs; the directory of the speech encoder stands for an ASR model."""
    return replace(quick_settings(tiny_text, tiny_speech), asr_model=str(tiny_speech))


@pytest.fixture
def heard(manifest, settings, monkeypatch):
    """The corpus with automatic transcripts."""
    hear(manifest, settings, monkeypatch, TONES)
    return manifest


@pytest.fixture
def mixed(settings):
    """Gold words in training, automatic ones in the held-out part, as an entry of `cv --systems` says it."""
    options = Entry.parse("mmer:transcripts=gold:test-transcripts=asr").options
    return replace(settings, **options)


def hear(manifest, settings, monkeypatch, words):
    """Make automatic transcripts with a model that hears these words."""
    with monkeypatch.context() as patch:
        hear_tones(patch, words)
        path = paths.asr_transcripts(manifest.path, settings.asr_model)
        path.unlink(missing_ok=True)
        transcribe(manifest, settings.asr_model, None, device="cpu", progress=lambda *_: None)


def examples_of(settings, manifest):
    """The inputs of a run with these settings, and its fold."""
    encoders, fold = Encoders.of(settings), fold_of(settings, manifest)
    corpus = open_corpus(manifest, settings, Path("cache"), encoders)
    alphabet = ctc_alphabet(settings, corpus.transcripts)
    model = build_model(settings, encoders, manifest.labels, alphabet)
    return make_examples(settings, corpus, fold, model, alphabet, encoders.text), fold


def record_of(run=RUN):
    return RunRecord.read(paths.fold(run, 1).settings, "mmer-pipe train")


def test_rows_come_from_the_test_source_where_an_utterance_is_held_out():
    class Numbered:
        def __init__(self, first):
            self.first = first

        def row(self, position):
            return np.full((position + 1, 2), self.first + position)

        def length(self, position):
            return self.first + position

    rows = SplitRows(Numbered(0), Numbered(100), {1, 3})
    assert [rows.length(position) for position in range(5)] == [0, 101, 2, 103, 4]
    assert [int(rows.row(position)[0, 0]) for position in range(5)] == [0, 101, 2, 103, 4]


def test_each_source_trains_another_run(heard, settings):
    digests, losses = set(), set()
    for number, changes in enumerate(
        ({}, {"transcripts": "asr"}, {"transcripts": "none"}, {"test_transcripts": "asr"})
    ):
        chosen, run = replace(settings, epochs=1, **changes), Path(f"runs/{number}")
        extract_for(chosen, heard)
        assert train(chosen, heard, run=run)
        digests.add(record_of(run).digest)
        losses.add(json.dumps(metrics(run)[0]["train"]))
    assert len(digests) == 4
    assert len(losses) == 3  # the last one is trained as the first


def test_training_on_gold_words_and_testing_on_automatic_ones(heard, mixed):
    """The same training, other predictions."""
    gold = replace(mixed, test_transcripts="same")
    for chosen, run in ((gold, Path("runs/gold")), (mixed, RUN)):
        extract_for(chosen, heard)
        assert train(chosen, heard, run=run)
        evaluation, computed = evaluate_fold(run, 1, cache=Path("cache"), device="cpu")
        assert computed
        assert evaluation["metrics"]["confusion"] == metrics(run)[-1]["held_out"]["confusion"]
    assert [line["train"] for line in metrics(RUN)] == [line["train"] for line in metrics("runs/gold")]
    assert paths.fold(RUN, 1).predictions.read_text() != paths.fold(Path("runs/gold"), 1).predictions.read_text()


def test_the_held_out_part_alone_reads_the_automatic_words(heard, mixed):
    extract_for(mixed, heard)
    examples, fold = examples_of(mixed, heard)
    files = {
        source: FeatureFile(feature_of("text", mixed, source).path(Path("cache"), heard.path))
        for source in ("gold", "asr")
    }
    for source, positions in (("gold", fold.train), ("asr", fold.test)):
        for position in positions:
            name = heard.utterances[position].utterance_id
            np.testing.assert_array_equal(examples.text.row(position), files[source].rows(name))
            spoken = heard.utterances[position].transcript
            assert (examples.transcripts[position] == spoken) == (source == "gold")
    gold = [heard.utterances[position].transcript for position in fold.test]
    assert [examples.reference(position) for position in fold.test] == list(map(examples.alphabet.words, gold))


def test_ctc_learns_to_spell_the_automatic_words(heard, settings):
    asr = replace(settings, transcripts="asr")
    extract_for(asr, heard)
    examples, _ = examples_of(asr, heard)
    happy = next(n for n, u in enumerate(heard.utterances) if u.emotion == "hap")
    assert list(examples.targets[happy]) == examples.alphabet.encode(TONES[440])
    neutral = [n for n, u in enumerate(heard.utterances) if u.emotion == "neu"]
    assert {examples.targets[n] for n in neutral} == {()}  # nothing is heard


def test_without_words_all_utterances_have_the_same_text_and_no_ctc_target(manifest, settings):
    none = replace(settings, transcripts="none")
    extract_for(none, manifest)
    examples, _ = examples_of(none, manifest)
    rows = [examples.text.row(position) for position in range(16)]
    assert all(np.array_equal(row, rows[0]) for row in rows)
    assert examples.without_target == 16


@pytest.mark.parametrize("transcripts", ["asr", "gold"])
def test_a_text_encoder_that_is_fine_tuned_reads_the_words_themselves(heard, settings, transcripts):
    options = {"transcripts": transcripts, "test_transcripts": "asr", "finetune_text": True}
    chosen = settings_for("roberta", fold=1, **{**changed(settings), **options})
    examples, fold = examples_of(chosen, heard)
    only_asr, _ = examples_of(replace(chosen, transcripts="asr"), heard)
    for position in range(16):
        same = np.array_equal(examples.text.row(position), only_asr.text.row(position))
        assert same == (transcripts == "asr" or position in fold.test)


def changed(settings):
    """The settings for `settings_for`, without those that only some systems have."""
    names = [name for name, option in OPTIONS.items() if not option.is_optional]
    return {name: getattr(settings, name) for name in names}


def test_other_automatic_words_make_a_trained_run_stale(heard, mixed, monkeypatch):
    extract_for(mixed, heard)
    assert train(mixed, heard)
    assert record_of().inputs.keys() >= {"test_asr_transcripts", "test_text_features", "text_features"}
    hear(heard, mixed, monkeypatch, {**TONES, 110: "Something else"})
    with pytest.raises(UserError, match=r"out of date: 4 of 16 .*mmer-pipe extract .*--test-transcripts asr"):
        evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")
    extract_for(mixed, heard)
    with pytest.raises(UserError, match=r"trained: test asr transcripts, test text features .*Train the fold again"):
        evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")
    with pytest.raises(UserError, match="test_asr_transcripts: "):
        train(mixed, heard)


def test_automatic_words_that_are_missing_name_the_command(manifest, settings):
    with pytest.raises(UserError, match=r"16 of 16 .*Run `mmer-pipe transcribe --asr-model \S+`"):
        train(replace(settings, transcripts="asr"), manifest)


def test_a_run_from_before_the_setting_and_its_evaluation_stay_current(heard, settings):
    extract_for(settings, heard)
    assert train(settings, heard)
    evaluation, _ = evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")
    written = paths.fold(RUN, 1).settings
    for name in ("transcripts", "test_transcripts", "asr_model", "asr_revision"):
        edit_json(written, lambda value, name=name: value["settings"].pop(name))
    edit_json(written, lambda value: value["facts"].pop("asr_transcripts"))
    assert record_of().digest == json.loads(written.read_text())["identity"]
    assert evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu") == (evaluation, False)
    assert not train(settings, read_manifest(heard.path))


def test_a_record_says_which_automatic_words_were_read_and_how_wrong_they_are(heard, mixed):
    extract_for(mixed, heard)
    train(mixed, heard)
    used = record_of().facts["asr_transcripts"]
    assert (used["asr_model"], used["utterances"]) == (mixed.asr_model, 16)
    assert used["wer"] == pytest.approx(10 / 22, abs=1e-6)
    train(replace(mixed, test_transcripts="same"), heard, restart=True)
    assert record_of().facts["asr_transcripts"] is None
