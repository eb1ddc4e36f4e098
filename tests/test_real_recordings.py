"""Real recordings and real encoders: the whole way on a part of RAVDESS, and a CTC head that learns to spell."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.command_line import succeed

from mmer_pipeline import paths
from mmer_pipeline.corpora.labels import BUILT_IN, identity_map
from mmer_pipeline.corpora.manifest import write_manifest
from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.corpora.transcripts import Alphabet
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.scoring.metrics import score
from mmer_pipeline.training.build_model import load_model
from mmer_pipeline.training.evaluation import score_fold
from mmer_pipeline.training.fold_inputs import make_examples, open_corpus
from mmer_pipeline.training.inference import predict
from mmer_pipeline.training.mixed_precision import make_accelerator

pytestmark = [pytest.mark.real, pytest.mark.slow]
CTC_SENTENCES = 4  # the shortest of librispeech60
CTC_EPOCHS = 40


@pytest.fixture
def encoders(shared):
    models = shared / "models"
    text, speech = models / "minilm-l6", models / "moonshine-tiny-encoder"
    return ["--text-encoder", str(text), "--speech-encoder", str(speech)]


def test_part_of_ravdess_from_recordings_to_a_report(shared, encoders):
    """About 15 s: 32 utterances of four actors."""
    reading = read_corpus("ravdess", shared / "data" / "ravdess4")
    label_map = BUILT_IN["ravdess-4"]
    kept: dict[tuple[str, str], list[Utterance]] = {}
    for utterance in reading.utterances:
        if utterance.session in ("1", "2") and utterance.speaker in ("Actor_01", "Actor_02", "Actor_03", "Actor_04"):
            kept.setdefault((utterance.speaker, utterance.emotion), []).append(utterance)
    part = [utterance for group in kept.values() for utterance in group[:2]]
    write_manifest(Path("cache/manifest.csv"), part, root=reading.root, corpus="ravdess", label_map=label_map)
    training = ["--epochs", 1, "--learning-rate", "1e-4", "--alpha", "0.01"]
    succeed("extract", *encoders, "train", *encoders, *training, "evaluate", "report")
    report = json.loads(Path("runs/mmer/report.json").read_text())
    (system,) = report["systems"]
    assert system["folds_expected"] == 2
    assert not report["holes"]
    assert sum(map(sum, system["confusion"])) == len(part) == 32


def test_the_ctc_head_learns_to_spell_the_sentences_it_is_trained_on(shared, encoders):
    """About 15 s: the character error rate of the greedy transcripts falls below 0.2."""
    root = shared / "data" / "librispeech60"
    with (root / "transcripts.tsv").open(encoding="utf-8") as stream:
        rows = sorted(csv.DictReader(stream, delimiter="\t"), key=lambda row: float(row["duration_s"]))
    blank = Utterance("", "", None, None, "", "", "", "", "")
    utterances = [
        replace(blank, utterance_id=row["utt"], audio=f"flac/{row['utt']}.flac", speaker=row["utt"].split("-")[0],
                session="train", dialogue=row["utt"], emotion=("even", "odd")[i % 2], transcript=row["text"])
        for i, row in enumerate(rows[: CTC_SENTENCES + 1])
    ]  # fmt: skip
    utterances[-1] = replace(utterances[-1], session="held out")
    label_map = identity_map({"even", "odd"})
    write_manifest(Path("cache/manifest.csv"), utterances, root=root, corpus="librispeech", label_map=label_map)
    succeed("extract", *encoders)
    succeed(
        "train",
        *encoders,
        "--fold",
        1,
        "--epochs",
        CTC_EPOCHS,
        "--learning-rate",
        "1e-3",
        "--alpha",
        1,
        "--batch-size",
        2,
    )
    fold = paths.fold(Path("runs/mmer"), 1)
    record = RunRecord.read(fold.settings, "mmer-pipe train")
    scored = score_fold(Path("runs/mmer"), record, cache=Path("cache"), device="cpu")
    settings = record.settings
    model = load_model(fold.model, settings.system)
    corpus = open_corpus(scored.manifest, settings, Path("cache"), None)
    examples = make_examples(settings, corpus, scored.fold, model, Alphabet(tuple(model.alphabet)), None)
    accelerator, _ = make_accelerator("cpu", "fp32")
    metrics = score(predict(model, examples, scored.fold.train, accelerator), model.labels)
    assert metrics["ctc_utterances"] == CTC_SENTENCES
    assert metrics["cer"] < 0.2
