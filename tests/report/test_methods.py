"""The methods section: every statement is what the runs record."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers.report_example import report_example
from helpers.run_example import edit_json, write_import, write_run

from mmer_pipeline import paths
from mmer_pipeline.corpora.labels import LabelMap
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.corpus_content import MAJORITY, Baseline, Baselines
from mmer_pipeline.report.held_out_corpus import held_out_corpus
from mmer_pipeline.report.imported_results import Import
from mmer_pipeline.report.methods import methods, methods_latex, methods_markdown
from mmer_pipeline.report.published_systems import REBUILT, published_system
from mmer_pipeline.report.references import OF_SYSTEMS, bibliography
from mmer_pipeline.report.run_results import HeldOut, SystemResults
from mmer_pipeline.report.utterance_facts import UtteranceFacts
from mmer_pipeline.runs import trained_digests
from mmer_pipeline.settings import DEFAULTS

FACTS = {
    "utterances": {"train": 8, "validation": 0, "test": 4, "left_out": 0},
    "shared_speakers": [],
    "revisions": {"text": None, "speech": "abc123"},
    "trained_parameters": 1234567,
    "hardware": "NVIDIA H200",
    "git_commit": "0123abc",
    "python": "3.11.7",
    "versions": {"mmer-pipeline": "0.1.0", "torch": "2.13.0"},
}


def text_of(report, heading):
    return dict(methods(report))[heading]


@pytest.fixture
def both(tmp_path):
    """Two systems of different settings, one of them with two seeds and another version of torch."""
    other = {**FACTS, "versions": {"mmer-pipeline": "0.1.0", "torch": "2.14.0"}, "hardware": None, "device": "cpu"}
    runs = [write_run(tmp_path / "a", alpha=0.2, learning_rate=3e-5, epochs=3, facts=FACTS)]
    for seed in (1, 2):
        runs.append(
            write_run(tmp_path / f"b-seed{seed}", system="roberta", alpha=0.0, seed=seed, batch_size=32, epochs=3,
                      schedule="decay", finetune_text=True, facts=other)
        )  # fmt: skip
    return make_report(runs)


def test_what_holds_for_all_systems_is_said_once_and_the_rest_by_name(both):
    protocol, training = text_of(both, "Data and protocol"), text_of(both, "Training")
    assert "12 utterances of the corpus made up of 2 classes: happy (6) and sad (6)." in protocol
    assert protocol.count("3-fold cross-validation; the folds hold out sessions.") == 1
    assert "All systems were evaluated by 3-fold" in protocol
    assert "A fold has 8 training and 4 held-out utterances." in protocol
    assert "No speaker is in both the training and the held-out part of a fold." in protocol
    assert "after the last epoch (epoch 3); no epoch was chosen on the held-out part." in protocol
    assert "MMER (α = 0.2) was trained with seed 1." in protocol
    assert "RoBERTa (fine-tuned) was trained with seeds 1 and 2." in protocol
    assert "MMER (α = 0.2) was trained for 3 epochs in batches of 8 utterances" in training
    assert "peak learning rate 3e-05, constant;" in training
    assert "RoBERTa (fine-tuned) was trained for 3 epochs in batches of 32 utterances" in training
    assert "peak learning rate 1e-05, with linear decay to zero;" in training
    assert "For MMER (α = 0.2), the loss is cross-entropy + 0.2 · CTC [@ctc]." in training
    assert "For RoBERTa (fine-tuned), the loss is cross-entropy." in training


def test_encoders_have_their_revisions_and_publications(both):
    systems = text_of(both, "Systems")
    assert (
        "MMER (α = 0.2) reads the recording and the transcript with the text encoder roberta-base [@roberta] "
        "(revision not recorded) and the speech encoder facebook/wav2vec2-base [@wav2vec2] (revision abc123)."
    ) in systems
    assert "For MMER (α = 0.2), the text encoder was frozen." in systems
    assert "For RoBERTa (fine-tuned), the text encoder was fine-tuned." in systems
    assert "All systems were trained with 1,234,567 trainable parameters." in systems


@pytest.mark.parametrize(
    ("settings", "sentences"),
    [
        (
            {"system": "wav2vec2", "alpha": 0.0},
            ["The convolutional front end of the speech encoder was frozen, and its transformer layers were",
             "The emotion head is a linear layer that reads the mean of the speech encoder's frames."],
        ),
        (
            {"system": "cai"},
            ["The CTC head is a linear layer over 3 symbols that reads every frame of the speech encoder."],
        ),
        (
            {"system": "roberta", "alpha": 0.0, "finetune_text": True, "text_pooling": "pooler"},
            ["The emotion head is a linear layer that reads the encoder's pooler"],
        ),
        (
            {"system": "mmer"},
            ["cross-modal attention [@mmer2022]: frames attend to words, and words attend to the result (R); words "
             "attend to frames (Q); Q is scaled by a gate, the sigmoid of a linear map of R and Q; a linear layer "
             "makes one fused vector per word of R and Q.",
             "reads the mean of the speech encoder's frames and the mean of the fused words."],
        ),
        (
            {"system": "wav2vec2", "alpha": 0.0, "lora": 4},
            ["its transformer layers were fine-tuned by low-rank additions to their linear layers (LoRA of rank 4 "
             "[@lora])."],
        ),
        (
            {"system": "mmer", "layer_sum": True, "speech_pooling": "attentive"},
            ["the sum of its layers and of their input, with trained weights [@superb].",
             "reads the mean and the standard deviation of the speech encoder's frames, both weighted by trained "
             "attention [@okabe2018] and the mean of the fused words."],
        ),
        ({"system": "mmer", "gate": False, "r_branch": False}, [": words attend to frames (Q); a linear layer makes"]),
        ({"system": "mmer", "pooled": "text", "text_self_attention": True},
         ["A transformer layer is applied to the words first.", "reads the mean of the text encoder's tokens."]),
        (
            {"system": "morais", "alpha": 0.0, "layer": "last"},
            ["was rebuilt after its publication [@morais2022]: the frames of layer last of the speech encoder, which",
             "are read by ECAPA-TDNN [@desplanques2020] (512 channels, a vector of 192) and a linear layer."],
        ),
        (
            {"system": "wang", "alpha": 0.0},
            ["was rebuilt after its publication [@wang2020]: one branch is a two-layer LSTM on MFCC"],
        ),
        (
            {"system": "pappagari", "alpha": 0.0, "speaker_weights": "scratch"},
            ["was rebuilt after its publication [@pappagari2020]: a linear layer reads the speaker embedding of "
             "Resemblyzer's network [@ge2e]", "The speaker network was trained from random weights, on one window"],
        ),
        (
            {"system": "padi", "alpha": 0.0},
            ["was rebuilt after its publication [@padi2022]", "in training, spans of time and of bands are silent "
             "(SpecAugment [@specaugment])", "The speaker network was fine-tuned"],
        ),
        (
            {"system": "wu", "alpha": 0.0},
            ["rebuilt after its publication [@wu2019]: convolutions of 2 × 8", "routed to those of classes in three"],
        ),
        (
            {"system": "makiuchi-speech", "alpha": 0.0, "layer": "all"},
            ["[@makiuchi2021]: of the speech part without the decoder", "trained weights; segments of 96 frames"],
        ),
        (
            {"system": "makiuchi-text", "alpha": 0.0},
            ["[@makiuchi2021]: of the text part: four convolutions pass over the frozen text encoder's tokens"],
        ),
        ({"system": "chen", "layer": "last", "padding": "reference"},
         ["was rebuilt after its publication [@chen2021]: the frames of layer last of the frozen speech encoder and "
          "the tokens, at most 460 and 20,", "Padding counts as frames and tokens, as in the authors' code."]),
        *(({"system": name}, [f"was rebuilt after its publication [@{key}]: "])
          for name, key in OF_SYSTEMS.items() if name in REBUILT),
    ],
)  # fmt: skip
def test_the_architecture_is_described(tmp_path, settings, sentences):
    report = make_report([write_run(tmp_path / "a", inputs={"alphabet": ["", "a", "b"]}, **settings)])
    said = text_of(report, "Systems")
    for sentence in sentences:
        assert sentence in said
    assert ("CTC head" in said) == (settings["system"] in ("mmer", "cai"))
    assert ("cross-modal" in said) == (settings["system"] == "mmer" and settings.get("pooled") != "text")


def test_speaker_vectors_are_named():
    settings = {**DEFAULTS, "inputs": "speech-states+resemblyzer", "layer": "3+4"}
    (said,) = published_system("makiuchi-speech", settings)
    assert "layers (3+4) of the frozen speech encoder are averaged" in said
    assert "trained weights; speaker vectors (resemblyzer) are repeated at each frame; segments of 96" in said


def test_another_loss_is_described(tmp_path):
    said = text_of(make_report([write_run(tmp_path / "a", system="wang", alpha=0.0)]), "Training")
    assert "The loss is the mean of the cross-entropies of both branches." in said
    assert "SpecAugment" not in said


def test_versions_of_recordings_are_told(tmp_path):
    plain, changed = write_run(tmp_path / "a"), write_run(tmp_path / "b", augment="speed-0.9+noise-20")
    said = text_of(make_report([plain, changed]), "Training")
    assert (
        "For MMER (α = 0.1, speed-0.9+noise-20), a recording is read in training as it is or, equally likely at every "
        "use, in one of these versions: 0.9 times the speed [@ko2015]; white noise 20 dB below the recording."
    ) in said
    assert said.count("equally likely") == 1


WAV2VEC2 = {
    "model_type": "wav2vec2", "apply_spec_augment": True, "mask_time_prob": 0.05, "mask_time_length": 10,
    "mask_feature_prob": 0.0, "mask_feature_length": 10,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "settings", "said"),
    [
        (WAV2VEC2, {}, "SpecAugment [@specaugment] masks spans of 10 frames (share 0.05), as"),
        ({**WAV2VEC2, "apply_spec_augment": False}, {}, "SpecAugment was not applied, as the"),
        ({**WAV2VEC2, "mask_time_prob": 0.0}, {}, "SpecAugment was not applied, as the"),
        ({"model_type": "moonshine"}, {}, "SpecAugment was not applied: the speech encoder (moonshine) has none."),
        (WAV2VEC2, {"spec_augment": False}, "SpecAugment was turned off."),
        (WAV2VEC2, {"mask_time_prob": 0.05}, "SpecAugment [@specaugment] masks spans of 10 frames (share 0.05)."),
        (
            WAV2VEC2,
            {"layerdrop": 0.2, "speech_dropout": 0.0},
            "A step leaves out a layer of the speech encoder with probability 0.2 and every dropout rate of the speech "
            "encoder's transformer is 0.",
        ),
        (None, {}, "SpecAugment [@specaugment] was applied if the speech encoder has it"),
        *(
            ({**WAV2VEC2, name: value}, {}, "SpecAugment [@specaugment] was applied if the speech encoder has it")
            for name, value in (("mask_time_prob", "x"), ("mask_time_length", None), ("model_type", ["a"]))
        ),
    ],
)
def test_spec_augment_is_said_as_the_trained_encoder_s_configuration_has_it(tmp_path, config, settings, said):
    run = write_run(tmp_path / "a", **settings)
    if config:
        fold = paths.fold(run, 1)
        (fold.model / paths.MODEL_CONFIG_NAME).write_text(json.dumps({"speech": {"config": config}}))
        edit_json(fold.settings, lambda record: record.update(files=trained_digests(fold)))
    assert said in text_of(make_report([run]), "Training")


def test_encoders_of_the_package_index_and_asr_models_are_cited(tmp_path):
    used = {"asr_model": "openai/whisper-base", "wer": 0.123, "utterances": 12}
    run = write_run(tmp_path / "a", text_encoder="embedded/minilm-l6", speech_encoder="embedded/moonshine-tiny",
                    transcripts="asr", asr_model="openai/whisper-base", facts={"asr_transcripts": used})  # fmt: skip
    said = text_of(make_report([run]), "Systems")
    assert "the text encoder embedded/minilm-l6 [@minilm]" in said
    assert "the speech encoder embedded/moonshine-tiny [@moonshine]" in said
    assert "automatic transcripts of openai/whisper-base [@whisper] (word error rate 12.3 %)" in said
    known = bibliography([methods_latex(make_report([run]))])
    assert all(f"{{{key}," in known for key in ("minilm", "moonshine", "whisper"))


def test_merged_labels_are_those_that_occur(tmp_path, tiny_corpus):
    manifest = tiny_corpus(tmp_path)
    classes = {"happy": ("hap", "exc"), "sad": ("ang", "neu", "sad")}  # nothing is excited
    manifest = replace(manifest, label_map=LabelMap("two", classes, ()))
    ids, speakers = zip(*((u.utterance_id, u.speaker) for u in manifest.utterances), strict=True)
    truth = np.array([int(u.emotion != "hap") for u in manifest.utterances])
    rows = HeldOut(ids, (1,) * len(ids), speakers, speakers, truth, truth, None)
    system = SystemResults("a", (), tmp_path, {1: "1"}, rows)
    found = held_out_corpus([system], ["happy", "sad"], UtteranceFacts(manifests=[manifest]))
    assert found.merged_labels == {"sad": ("ang", "neu", "sad")}


def test_merged_labels_and_cheap_baselines_are_said(tmp_path):
    report = make_report([write_run(tmp_path / "a")])
    assert "merged" not in text_of(report, "Data and protocol")
    assert "regression" not in text_of(report, "Metrics")
    held_out = replace(report.held_out, merged_labels={"happy": ("exc", "hap")})
    baselines = Baselines((Baseline(MAJORITY, 0.5, 0.5, None), Baseline("loudness", 0.4, 0.4, None)))
    report = replace(report, held_out=held_out, baselines=baselines)
    assert "Labels of the corpus were merged: exc and hap (as happy)." in text_of(report, "Data and protocol")
    said = text_of(report, "Metrics")
    assert (
        "logistic regressions were fitted and tested on the same folds, each on nothing but one of: loudness." in said
    )


def test_mixed_versions_and_hardware_are_all_said(both):
    made = text_of(both, "Software and hardware")
    assert "mmer-pipeline 0.1.0 (commit 0123abc) [@mmerpipeline], Python 3.11.7, torch 2.13.0 and 2.14.0." in made
    assert "Training ran on NVIDIA H200; cpu." in made


def test_only_the_tests_that_were_made_are_described(both, tmp_path, monkeypatch):
    found = text_of(both, "Statistics")
    assert "with all swaps [@noreen1989]" in found  # six dialogues
    assert "Holm's method [@holm1979] over all pairs of systems (1 comparison)" in found
    assert "random effects" in found  # the interval of the system with two seeds
    alone = make_report([write_run(tmp_path / "c")])
    assert text_of(alone, "Statistics") == "No intervals are given: there are too few dialogues."
    monkeypatch.setattr("mmer_pipeline.report.comparisons.FEWEST_CLUSTERS", 2)
    alone = make_report([tmp_path / "c"])
    assert "95 % intervals of values pooled" in text_of(alone, "Statistics")
    assert "Holm" not in text_of(alone, "Statistics")
    assert "random effects" not in text_of(alone, "Statistics")


def test_validation_patience_and_other_settings_are_said(tmp_path):
    run = write_run(tmp_path / "a", validation="speaker", patience=5, text_disjoint=True, bucket_batches=1,
                    head_learning_rate=1e-3, facts=FACTS)  # fmt: skip
    report = make_report([run])
    protocol, training = text_of(report, "Data and protocol"), text_of(report, "Training")
    assert "One speaker of the training part served as the validation part" in protocol
    assert "until the validation WA had not risen for 5 epochs" in protocol
    assert "Training utterances whose words also occur in the held-out part were left out" in protocol
    assert "trained for up to 100 epochs" in training
    assert "peak learning rate of 0.001" in training
    assert "These settings also differ from the defaults: bucket batches 1." in training


def test_what_is_not_recorded_is_not_said(tmp_path):
    text = methods_markdown(make_report([write_run(tmp_path / "a")]))  # without sizes, speakers, parameters
    assert "no speaker" not in text.lower()
    assert "training and" not in text
    assert "trainable parameters" not in text


def test_missing_folds_and_imports_are_said(tmp_path):
    theirs = Import(write_import(tmp_path / "x.csv"), "theirs")
    report = make_report([write_run(tmp_path / "a", folds=(1, 2))], [theirs])
    assert "THE FOLLOWING FOLDS ARE MISSING" in text_of(report, "Data and protocol")
    assert "a, fold 3" in text_of(report, "Data and protocol")
    assert "The predictions of theirs (10 utterances) were imported; how it was trained" in text_of(report, "Systems")
    assert "All systems" not in "".join(text for _, text in methods(report))  # nothing is known of theirs
    alone = make_report([], [theirs])
    assert [heading for heading, _ in methods(alone)] == ["Data and protocol", "Systems", "Metrics", "Statistics"]


def test_citations_are_pandoc_s_in_markdown_and_latex_s_in_latex():
    report = replace(report_example(), corpus="iemocap")
    assert "the corpus iemocap [@iemocap]" in methods_markdown(report)
    latex = methods_latex(report)
    assert r"the corpus iemocap~\cite{iemocap}" in latex
    assert r"Satterthwaite's~\cite{obuchowski1995,hillis2007}." in latex
    assert "[@" not in latex
    assert re.findall(r"\\paragraph\{(.*?)\.\}", latex) == [heading for heading, _ in methods(report)]
