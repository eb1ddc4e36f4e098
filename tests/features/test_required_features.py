"""Which feature files a run reads, depending on where its words come from."""

import shutil
from pathlib import Path

import pytest

from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.demo.encoders import tiny_text_encoder
from mmer_pipeline.features.extraction import Execution, extract
from mmer_pipeline.features.required_features import requests_of
from mmer_pipeline.features.text_features import Tokens
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import settings_for

CACHE, MANIFEST = Path("cache"), Path("cache/manifest.csv")
WORDS = "manifest.asr-embedded--moonshine-tiny.csv"


def names(settings: Settings) -> list[str]:
    """The files that a run reads, without those of speech."""
    found = [request.path(CACHE, MANIFEST).name for request in requests_of(settings)]
    return [name for name in found if not name.startswith("speech-")]


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({}, ["text-roberta-base-strip-float16.h5"]),
        ({"transcripts": "asr"}, [WORDS, "text-roberta-base-strip-asr-embedded--moonshine-tiny-float16.h5"]),
        (
            {"transcripts": "asr", "asr_model": "some/model"},
            ["manifest.asr-some--model.csv", "text-roberta-base-strip-asr-some--model-float16.h5"],
        ),
        ({"transcripts": "none"}, ["text-roberta-base-strip-none-float16.h5"]),
        (
            {"test_transcripts": "asr"},
            [
                WORDS,
                "text-roberta-base-strip-float16.h5",
                "text-roberta-base-strip-asr-embedded--moonshine-tiny-float16.h5",
            ],
        ),
        ({"test_transcripts": "gold"}, ["text-roberta-base-strip-float16.h5"]),
    ],
)
def test_each_source_of_words_has_a_text_file_of_its_own(changes: dict[str, str], files: list[str]) -> None:
    assert names(settings_for("roberta", fold=1, **changes)) == files
    assert names(settings_for("mmer", fold=1, **changes)) == files


def test_runs_share_the_files_that_both_read() -> None:
    gold, asr, mixed = (
        set(requests_of(settings_for("mmer", fold=1, **changes)))
        for changes in ({}, {"transcripts": "asr"}, {"test_transcripts": "asr"})
    )
    assert mixed == gold | asr
    assert len(mixed) == 4  # speech, gold and automatic words, and the automatic transcripts themselves


def test_the_asr_model_changes_no_file_where_no_automatic_words_are_read() -> None:
    assert requests_of(Settings(fold=1, asr_model="some/model")) == requests_of(Settings(fold=1))


def test_a_system_without_words_reads_no_text_file() -> None:
    assert names(settings_for("wav2vec2", fold=1, transcripts="asr")) == []
    assert names(settings_for("cai", fold=1)) == []
    assert names(settings_for("roberta", fold=1, finetune_text=True)) == []


def test_ctc_and_a_text_encoder_that_is_fine_tuned_need_the_automatic_transcripts_alone() -> None:
    assert names(settings_for("cai", fold=1, transcripts="asr")) == [WORDS]
    assert names(settings_for("roberta", fold=1, finetune_text=True, transcripts="asr")) == [WORDS]


def test_encoders_in_directories_of_one_name_do_not_overwrite_each_other_s_features(manifest: Manifest) -> None:
    for name in ("a", "b"):
        tiny_text_encoder(Path(name) / "model", ["a b"], seed=ord(name))
    first, second, home = (Tokens("text", name, None, "float16") for name in ("a/model", "b/model", "model"))

    def run(request: Tokens) -> tuple[str, int]:
        done = extract(request, manifest, Path("cache"), Execution("cpu", "threads", lambda *_: None))
        assert request.path(Path("cache"), manifest.path) == done.path
        return done.path.name, done.computed

    assert run(first) == ("text-model-strip-float16.h5", 16)  # as earlier versions named it
    name, computed = run(second)
    assert (name.count("text-model-strip-float16."), computed) == (1, 16)
    assert name != "text-model-strip-float16.h5"
    assert [run(request) for request in (first, second, first)] == [
        ("text-model-strip-float16.h5", 0), (name, 0), ("text-model-strip-float16.h5", 0)
    ]  # fmt: skip
    Path("a/model").rename("model")  # an encoder that was moved keeps its features
    assert run(home) == ("text-model-strip-float16.h5", 0)
    assert run(second) == (name, 0)


def test_a_copy_of_an_encoder_uses_its_features(manifest: Manifest, tiny_text: Path) -> None:
    copy = shutil.copytree(tiny_text, Path("copy") / tiny_text.name)
    found = [Tokens("text", str(encoder), None, "float16") for encoder in (tiny_text, copy)]
    execution = Execution("cpu", "threads", lambda *_: None)
    assert [extract(request, manifest, Path("cache"), execution).computed for request in found] == [16, 0]


def test_a_file_that_is_no_feature_file_keeps_its_name(tiny_text: Path) -> None:
    request = Tokens("text", str(tiny_text), None, "float16")
    path = request.path(CACHE, MANIFEST)
    path.parent.mkdir(parents=True)
    path.write_text("not HDF5")
    assert request.path(CACHE, MANIFEST) == path
