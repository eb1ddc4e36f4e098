"""Corpora in other languages than English: their letters reach every stage whole, in whichever Unicode form.

Names and texts stand in the corpus in both forms, composed (NFC) and taken apart (NFD) as macOS writes file
names; what comes out is composed.
"""

import csv
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.command_line import succeed

from mmer_pipeline import paths
from mmer_pipeline.corpora.labels import load_label_map
from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.corpora.transcripts import BLANK, WAV2VEC2_ALPHABET, WORD_BOUNDARY, Alphabet, corpus_alphabet
from mmer_pipeline.corpora.utterances import COLUMNS

RATE = 16_000
ENGLISH = Alphabet(WAV2VEC2_ALPHABET)
POLISH = {
    "radość": ("Cieszę się, że żółw już śpi!", "CIESZĘ SIĘ ŻE ŻÓŁW JUŻ ŚPI"),
    "złość": ("Idź stąd, łotrze!", "IDŹ STĄD ŁOTRZE"),
}
TURKISH = {
    "neşe": ("İyi ki geldin, şekerim! [kıkırdama]", "İYİ Kİ GELDİN ŞEKERİM"),
    "öfke": ("Işığı niye yaktın, çabuk söndür!", "IŞIĞI NİYE YAKTIN ÇABUK SÖNDÜR"),
}
SPEAKERS = {"1": ("Łucja", "Ömer"), "2": ("Żaneta", "Işık")}


def composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def apart(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def write_corpus(root: Path, sentences: dict[str, tuple[str, str]]) -> Path:
    """A corpus written by hand: every second row taken apart, each recording's name the other way on the disk."""
    rows = []
    for session, speakers in SPEAKERS.items():
        for speaker in speakers:
            for emotion, (text, _) in sentences.items():
                here, there = (composed, apart) if len(rows) % 2 else (apart, composed)
                name = f"{speaker}-{emotion}"
                audio = root / "nagrania-ş" / there(f"{name}.wav")
                audio.parent.mkdir(parents=True, exist_ok=True)
                seconds = 1.0 + 0.1 * (len(rows) % 3)  # long enough for CTC to spell every sentence
                noise = np.random.default_rng(len(rows)).normal(0, 0.1, round(RATE * seconds))
                soundfile.write(audio, noise.astype(np.float32), RATE, subtype="PCM_16")
                cells = (name, f"nagrania-ş/{name}.wav", "", "", speaker, session, f"d-{speaker}", emotion, text)
                rows.append([here(cell) for cell in cells])
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return root


def write_label_map(path: Path, sentences: dict[str, tuple[str, str]]) -> Path:
    """A map that is written the other way than half of the rows."""
    lines = [f'"{name}-klasa" = ["{name}"]' for name in sentences]
    path.write_text(apart("\n".join(["[classes]", *lines, ""])), encoding="utf-8")
    return path


@pytest.mark.parametrize("sentences", [POLISH, TURKISH], ids=["polish", "turkish"])
def test_a_corpus_goes_from_its_folder_to_a_report_with_every_letter(
    tmp_path: Path, tiny_text: Path, tiny_speech: Path, sentences: dict[str, tuple[str, str]]
) -> None:
    root = write_corpus(tmp_path / "korpus ğ", sentences)
    encoders = ["--text-encoder", tiny_text, "--speech-encoder", tiny_speech]
    label_map = write_label_map(tmp_path / "mapa.toml", sentences)
    prepared = succeed("prepare", "csv", "--root", root, "--label-map", label_map, "--strict", "--json")
    classes = {composed(f"{name}-klasa"): 4 for name in sentences}
    assert json.loads(prepared.stdout)["classes"] == classes
    utterances = read_manifest(Path("cache/manifest.csv")).utterances
    ids = [composed(f"{name}-{emotion}") for pair in SPEAKERS.values() for name in pair for emotion in sentences]
    assert [u.utterance_id for u in utterances] == ids
    assert {u.transcript for u in utterances} == {text for text, _ in sentences.values()}

    succeed("extract", *encoders)
    succeed("train", *encoders, "--ctc-alphabet", "corpus", "--epochs", 1, "evaluate", "report", "--run", "mmer")
    spelt = {words for _, words in sentences.values()}
    fold = paths.fold(Path("runs/mmer"), 1)
    symbols = json.loads((fold.model / "config.json").read_text(encoding="utf-8"))["alphabet"]
    assert symbols == [BLANK, WORD_BOUNDARY, *sorted(set("".join(spelt)) - {" "})]
    assert {Alphabet(tuple(symbols)).words(u.transcript) for u in utterances} == spelt
    with fold.predictions.open(newline="", encoding="utf-8") as stream:
        predictions = list(csv.DictReader(stream))
    assert [row["utterance_id"] for row in predictions] == ids[:4]
    assert {row["truth"] for row in predictions} == set(classes)
    assert {letter for row in predictions for letter in row["transcript_ctc"]} <= {*symbols, " "}
    evaluation = json.loads(fold.evaluation.read_text(encoding="utf-8"))
    assert evaluation["metrics"]["cer"] is not None  # every transcript has a target, however badly it is met
    report = json.loads(Path("runs/mmer/report.json").read_text(encoding="utf-8"))
    assert all(name in json.dumps(report, ensure_ascii=False) for name in classes)


# --- spelling -----------------------------------------------------------------------------------------------


def test_turkish_i_with_and_without_its_dot_stay_two_letters() -> None:
    texts = ["Isı ile ısı, İzmir ile izin.", "KIRK kırk, KİRPİ kirpi, iki."]
    alphabet = corpus_alphabet(texts)
    assert {"I", "İ"} <= set(alphabet.symbols)
    assert [alphabet.words(text) for text in texts] == ["ISI İLE ISI İZMİR İLE İZİN", "KIRK KIRK KİRPİ KİRPİ İKİ"]
    assert alphabet.words("kiz") != alphabet.words("kız")
    assert alphabet.decode(alphabet.encode("İki ısı")) == "İKİ ISI"


def test_a_small_i_that_kept_the_dot_of_its_capital_is_that_letter() -> None:
    lowered = "İZİN".lower()  # "i̇zi̇n": Python knows no language
    assert len(lowered) == 6
    assert corpus_alphabet(["ılık", lowered]).words(lowered) == "İZİN"
    assert corpus_alphabet([lowered]).words(lowered) == "İZİN"


def test_an_alphabet_without_turkish_letters_spells_i_as_ever() -> None:
    assert corpus_alphabet(["Idę, idziesz."]).words("Idę, idziesz.") == "IDĘ IDZIESZ"
    assert ENGLISH.words("I did it") == "I DID IT"


def test_sharp_s_is_a_letter_of_its_own_where_the_corpus_has_it() -> None:
    alphabet = corpus_alphabet(["Maße und Masse"])
    assert alphabet.words("Maße und Masse") == "MAẞE UND MASSE"
    assert ENGLISH.words("Maße") == "MASSE"


@pytest.mark.parametrize(
    "text",
    [
        "zażółć gęślą jaźń",
        "Pijamalı hasta yağız şoföre çabucak güvendi",
        "ĂÂÎȘȚ ăâîșț",
        "ñandú",
        "ёлка й",
        "今天天气很好",
    ],
)
def test_both_unicode_forms_are_spelt_alike(text: str) -> None:
    alphabet = corpus_alphabet([apart(text)])
    assert alphabet == corpus_alphabet([composed(text)])
    assert alphabet.encode(apart(text)) == alphabet.encode(composed(text))
    assert alphabet.unspellable(text) == ""
    assert len(set(alphabet.words(text)) - {" "}) == len({letter.lower() for letter in composed(text)} - {" "})


def test_letters_that_an_alphabet_cannot_spell_are_told() -> None:
    assert ENGLISH.unspellable("Żółw [ŁAAA], don’t 2!") == "ŻÓŁ2"
    assert ENGLISH.unspellable(apart("şarkı İzmir")) == "Şİ"
    assert ENGLISH.unspellable("Plain words, don't worry | <s>.") == ""


def test_labels_of_a_map_are_composed_as_the_manifest_s_are(tmp_path: Path) -> None:
    path = write_label_map(tmp_path / "mapa.toml", POLISH)
    assert not unicodedata.is_normalized("NFC", path.read_text(encoding="utf-8"))
    labels = load_label_map(str(path))
    assert labels.class_of("złość") == "złość-klasa"
