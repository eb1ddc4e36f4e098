"""The card of a packed model: read back by huggingface_hub, rendered by a Markdown library."""

import ast
import html
import re
import shlex
from dataclasses import replace

import pytest
import yaml
from helpers.hostile_text import HOSTILE, assert_inert
from huggingface_hub import EvalResult, ModelCard
from markdown_it import MarkdownIt

from mmer_pipeline.prediction.card_facts import CardFacts, Score
from mmer_pipeline.prediction.model_card import MOST_NAMED, model_card

WA = Score("WA", "accuracy", mean=0.78391, deviation=0.0642, pooled=0.7902, low=0.74, high=0.841)
UA = Score("UA", "recall", mean=0.75516, deviation=0.0777, pooled=0.7643, low=0.706, high=0.822)
FACTS = CardFacts(
    name="ravdess-mmer",
    title="MMER (α = 0.01)",
    labels=("angry", "happy", "neutral", "sad"),
    corpus="ravdess",
    utterances=1672,
    folds=("1", "2", "3", "4", "5"),
    fold_column="session",
    seeds=(1,),
    epochs=30,
    protocol="final: the last epoch, no selection",
    scores=(WA, UA),
    members=("trained on everything",),
    text_encoder="roberta-base",
    text_revision="e2da8e2f",
    speech_encoder="facebook/wav2vec2-base",
    asr_model="embedded/moonshine-tiny",
    annotations="strip",
    transcripts="gold",
    versions={"torch": "2.6.0", "mmer-pipeline": "0.1.0"},
)
ODD_NAMES = [
    "α: “quoted” 'n' \"double\"",
    "- a: {b}",
    "---",
    "# x",
    "a | b",
    "<b>&amp;</b>",
    "two\nlines",
    "`$x_1$`",
    "№ 1 #",
]


def data(facts):
    return ModelCard(model_card(facts)).data


def section(facts, title):
    return model_card(facts).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rendered(facts):
    return MarkdownIt("commonmark").enable("table").render(ModelCard(model_card(facts)).text)


def cells(page):
    """The text of every cell of a rendered page, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]


def test_metadata_is_what_the_hub_reads():
    found = data(FACTS)
    assert found.library_name == "mmer-pipeline"
    assert found.pipeline_tag == "audio-classification"
    assert found.license == "cc-by-nc-sa-4.0"
    assert found.base_model == ["roberta-base", "facebook/wav2vec2-base"]
    assert found.metrics == ["accuracy", "recall"]
    assert "speech-emotion-recognition" in found.tags
    assert found.language is None
    assert found.datasets is None


def test_model_index_has_the_scores_as_fractions():
    of_ravdess = {
        "task_type": "audio-classification",
        "task_name": "Speech emotion recognition",
        "dataset_type": "ravdess",
        "dataset_name": "RAVDESS",
        "dataset_split": "held out: session 1, 2, 3, 4, 5",
    }
    assert data(FACTS).model_name == "ravdess-mmer"
    assert data(FACTS).eval_results == [
        EvalResult(
            **of_ravdess,
            metric_type="accuracy",
            metric_name="Weighted accuracy, mean of 5 folds",
            metric_value=0.7839,
        ),
        EvalResult(
            **of_ravdess,
            metric_type="recall",
            metric_name="Unweighted accuracy (mean recall), mean of 5 folds",
            metric_value=0.7552,
            metric_args={"average": "macro"},
        ),
    ]


def test_huggingface_hub_writes_the_card_back_unchanged():
    assert str(ModelCard(model_card(FACTS))) == model_card(FACTS)


def test_the_same_facts_give_the_same_text():
    other_order = replace(FACTS, versions=dict(reversed(FACTS.versions.items())))
    assert model_card(other_order) == model_card(FACTS)
    assert "mmer-pipeline 0.1.0, torch 2.6.0" in section(FACTS, "Versions")


def test_the_page_is_short():
    assert len(ModelCard(model_card(FACTS)).text.splitlines()) < 100


def test_scores_stand_in_percent_with_deviation_and_interval():
    assert cells(rendered(FACTS))[-3:] == [
        ["", "mean of 5 folds ± SD", "pooled", "95 % interval"],
        ["WA", "78.39 ± 6.42", "79.02", "74.00–84.10"],
        ["UA", "75.52 ± 7.77", "76.43", "70.60–82.20"],
    ]
    assert "guessing gives a UA of 25.00" in section(FACTS, "Scores")


def test_a_model_trained_on_everything_does_not_claim_the_scores():
    text = section(FACTS, "Scores")
    assert "not of this packed model itself" in text
    assert "cross-validation's folds" in text
    assert "session 1, 2, 3, 4, 5" in text
    assert "No speaker of a held-out part" in text


def test_an_ensemble_has_heard_all_speakers():
    facts = replace(FACTS, members=tuple(f"fold {fold}" for fold in FACTS.folds))
    text = section(facts, "Scores")
    assert "not of this ensemble" in text
    assert "Each fold's model was scored alone" in text
    assert "have heard all speakers" in text
    assert "An ensemble of 5 emotion classifiers" in model_card(facts)
    assert ["models in this package", "fold 1; fold 2; fold 3; fold 4; fold 5"] in cells(rendered(facts))


def test_the_model_of_one_fold_has_its_own_scores():
    scores = (replace(WA, deviation=None, mean=0.8, pooled=0.8), replace(UA, deviation=None, low=None, high=None))
    facts = replace(FACTS, scores=scores, folds=("3",), members=("fold 3",), scores_of="this model")
    text = section(facts, "Scores")
    assert "of this very model" in text
    assert "session 3" in text
    assert "not of this" not in text
    assert cells(rendered(facts))[-3:] == [
        ["", "held-out part", "95 % interval"],
        ["WA", "80.00", "74.00–84.10"],
        ["UA", "76.43", "–"],
    ]
    assert [result.metric_value for result in data(facts).eval_results] == [0.8, 0.7643]
    assert data(facts).eval_results[0].metric_name == "Weighted accuracy, held-out part"


def test_a_single_held_out_part_is_not_called_a_cross_validation():
    facts = replace(FACTS, corpus="meld", fold_column="split", folds=("test",), scores=(replace(WA, deviation=None),))
    text = section(facts, "Scores")
    assert "not of this packed model itself" in text
    assert "cross-validation" not in text
    assert "known voices are easier" in text
    assert "mean of 1 fold |" in text
    assert data(facts).eval_results[0].dataset_split == "held out: the corpus's own test part"


def test_several_seeds_are_named():
    facts = replace(FACTS, seeds=(1, 2, 3))
    assert data(facts).eval_results[0].metric_name == "Weighted accuracy, mean of 5 folds × 3 seeds"
    assert ["seeds", "1, 2, 3"] in cells(rendered(facts))


def test_many_folds_are_counted_instead_of_listed():
    facts = replace(FACTS, fold_column="speaker", folds=tuple(f"s{number}" for number in range(MOST_NAMED + 1)))
    assert data(facts).eval_results[0].dataset_split == f"held out: {MOST_NAMED + 1} values of speaker"
    assert "s12" not in model_card(facts)


def test_groups_of_speakers_are_named_as_such():
    facts = replace(FACTS, fold_column="5", folds=("group 1", "group 2"))
    assert data(facts).eval_results[0].dataset_split == "held out: speakers of group 1, group 2"
    many = replace(facts, folds=tuple(f"group {number}" for number in range(MOST_NAMED + 1)))
    assert data(many).eval_results[0].dataset_split == f"held out: {MOST_NAMED + 1} groups of speakers"


def test_without_scores_there_is_no_model_index_and_the_card_says_so():
    facts = replace(FACTS, scores=(), folds=())
    assert data(facts).eval_results is None
    assert data(facts).metrics is None
    assert "model_name" not in model_card(facts)
    assert "model-index" not in model_card(facts)
    assert "How often it is right is not known" in section(facts, "Scores")


@pytest.mark.parametrize(
    "labels", [("angry", "happy", "neutral", "sad"), ("a | b", "<i>x</i>", "_c_", "grün", "[d](e)")]
)
def test_all_labels_are_there_as_they_are(labels):
    page = html.unescape(rendered(replace(FACTS, labels=labels)))
    assert f"<p>In the order of the output: {', '.join(labels)}.</p>" in page
    assert f"one of {len(labels)} classes" in page


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_break_neither_metadata_nor_page(name):
    line = " ".join(name.split())
    facts = replace(
        FACTS, name=name, corpus=name, title=name, labels=(name, "b"), folds=(name, "2"), members=(name,), protocol=name
    )
    found, page = data(facts), rendered(facts)
    assert found.model_name == line
    assert {result.dataset_name for result in found.eval_results} == {line}
    assert found.license == "other"
    assert html.unescape(re.search(r"<h1>(.*)</h1>", page)[1]) == line
    assert ["corpus", f"{line}, 1,672 utterances"] in cells(page)
    assert ["protocol", line] in cells(page)
    assert {len(row) for row in cells(page)} == {2, 4}  # settings, scores
    assert len(re.findall("<h2>", page)) == 8


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_commands_quote_the_name(name):
    place = f"path/to/{' '.join(name.split())}"
    shell, python = re.findall(
        r"```(?:sh|python)\n(.*?)```", section(replace(FACTS, name=name), "Use"), flags=re.DOTALL
    )
    assert shlex.split(shell) == ["mmer-pipe", "predict", "recording.wav", "--model", place]
    calls = [node for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Call)]
    assert [argument.value for call in calls for argument in call.args] == [place, "recording.wav"]


@pytest.mark.parametrize("path", ["/home/me/encoders/minilm", "../encoders/minilm/", "~/minilm", r"C:\encoders\minilm"])
def test_of_a_path_the_card_shows_only_the_last_part(path):
    facts = replace(FACTS, text_encoder=path, text_revision=None, asr_model=path)
    assert data(facts).base_model == ["facebook/wav2vec2-base"]
    assert data(facts).license == "other"
    assert ["text encoder", "minilm (a local directory)"] in cells(rendered(facts))
    assert path not in model_card(facts)
    assert "Its licence is not known here" in section(facts, "Licences")


def test_embedded_models_are_no_base_models():
    facts = replace(FACTS, text_encoder="embedded/minilm-l6", speech_encoder="embedded/moonshine-tiny")
    assert data(facts).base_model is None
    assert "Encoder: embedded/minilm-l6, Apache 2.0" in section(facts, "Licences")


def test_a_system_without_text_says_nothing_of_transcripts():
    facts = replace(FACTS, text_encoder=None, text_revision=None, asr_model=None, transcripts="none")
    text = model_card(facts).partition("## Citation")[0]
    assert "It reads a recording, and" in text
    assert "transcri" not in text
    assert "multimodal" not in data(facts).tags


def test_a_system_without_speech_reads_the_transcript():
    facts = replace(FACTS, speech_encoder=None)
    assert "It reads the transcript of a recording, and" in model_card(facts)
    assert data(facts).base_model == ["roberta-base"]


def test_the_card_says_where_transcripts_come_from():
    assert "transcribed by embedded/moonshine-tiny" in section(FACTS, "Use")
    assert "It names no ASR model" in section(replace(FACTS, asr_model=None), "Use")
    assert ["transcripts", "the corpus's own"] in cells(rendered(FACTS))
    assert ["transcripts", "by embedded/moonshine-tiny"] in cells(rendered(replace(FACTS, transcripts="asr")))
    assert "the scores do not show" in section(FACTS, "Limits")
    assert "the scores do not show" not in section(replace(FACTS, transcripts="asr"), "Limits")


def test_a_model_without_words_is_not_said_to_read_any():
    facts = replace(FACTS, transcripts="none", asr_model=None)
    assert "It reads a recording, and" in model_card(facts)
    assert section(facts, "Use").rstrip().endswith("or the id of the model on the hub.")
    assert "ASR" not in section(facts, "Limits")
    assert ["transcripts", "none"] in cells(rendered(facts))


def test_limits_and_licences_are_stated():
    assert "decisions about people" in section(FACTS, "Limits")
    assert "daily life" in section(FACTS, "Limits")
    assert "Corpus: RAVDESS, CC BY-NC-SA 4.0." in section(FACTS, "Licences")
    own = replace(FACTS, corpus="csv")
    assert "Corpus: own corpus (csv). Its licence is not known here" in section(own, "Licences")


TAGS = ["!!python/object/apply:os.system ['id']", "!!python/name:os.system", "&a [*a]", "---\n!!js/function x", HOSTILE]


@pytest.mark.parametrize("text", TAGS)
def test_no_name_becomes_a_yaml_tag_or_markup(text):
    facts = replace(FACTS, name=text, corpus=text, folds=(text,), fold_column=text, labels=(text, "sad"), title=text,
                    protocol=text, members=(text,), text_encoder=text, speech_encoder=text, asr_model=text,
                    text_revision=text, versions={text: text})  # fmt: skip
    card = model_card(facts)
    metadata = card.split("---\n")[1]
    tokens = list(yaml.scan(metadata))
    assert not [token for token in tokens if isinstance(token, yaml.TagToken | yaml.AliasToken | yaml.AnchorToken)]
    assert yaml.safe_load(metadata)["model-index"][0]["name"] == " ".join(text.split())
    assert_inert(rendered(facts))
