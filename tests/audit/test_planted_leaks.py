"""For each kind of leak a corpus that has it, and one that has not: the audit finds it in the first alone.

A finding that no corpus has planted fails the last test.
"""

import json
from collections.abc import Callable

import numpy as np
import pytest
import soxr
from helpers.audit_example import found
from helpers.planted_corpus import RATE, Corpus, sound, write_clean_corpus

Plant = Callable[[Corpus], None]
LINE = "I am sure that the old horse is still brown"


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Corpus:
    return write_clean_corpus(tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def clean_audit(clean) -> dict:
    return clean.audit()


def of_class(corpus: Corpus, emotion: str) -> list[int]:
    return [number for number, row in enumerate(corpus.rows) if row.emotion == emotion]


def texts(*pairs: tuple[int, str]) -> Plant:
    return lambda corpus: [corpus.change(number, transcript=text) for number, text in pairs] and None


def cells(*changes: tuple[int, dict[str, object]]) -> Plant:
    return lambda corpus: [corpus.change(number, **change) for number, change in changes] and None


def sounds(numbers: list[int], change: Callable[[np.ndarray], np.ndarray], rate: int = RATE) -> Plant:
    return lambda corpus: [corpus.record(n, change(corpus.samples(n)), rate) for n in numbers] and None


def copied_sound(change: Callable[[np.ndarray], np.ndarray], rate: int = RATE) -> Plant:
    """Utterance 40, of session 3, gets the sound of the first, of session 1."""
    return lambda corpus: corpus.record(40, change(corpus.samples(0)), rate)


def at_8_khz(samples: np.ndarray) -> np.ndarray:
    return soxr.resample(samples, RATE, 8000)


def cut(samples: np.ndarray) -> np.ndarray:
    return samples[1777 : -len(samples) // 8]


def speaker_under_two_names(corpus: Corpus) -> None:
    corpus.column = "speaker"
    corpus.change(0, speaker="somebody else")


def recorded_with_the_other_actors_markers(corpus: Corpus) -> None:
    corpus.change(0, utterance_id=corpus.rows[0].utterance_id.replace("Ses01F_", "Ses01M_"))


def class_by_level(corpus: Corpus) -> None:
    for level, emotion in enumerate(("sad", "neu", "hap", "ang")):
        sounds(of_class(corpus, emotion), lambda samples, level=level: 0.25 * 1.8**level * samples)(corpus)


def class_by_length(corpus: Corpus) -> None:
    for number, row in enumerate(corpus.rows):
        corpus.record(number, sound(number, {"sad": 3.0, "neu": 2.2, "hap": 1.6, "ang": 1.2}[row.emotion]))


def class_by_words(corpus: Corpus) -> None:
    for number, row in enumerate(corpus.rows):
        more = {"sad": 4, "neu": 3, "hap": 2, "ang": 1}[row.emotion]
        corpus.change(number, transcript=" ".join(corpus.rows[(number + 5 * k) % 48].transcript for k in range(more)))


def scripted(corpus: Corpus) -> None:
    """Happy and angry utterances are scripted, and their lines are the same in every session."""
    for number in of_class(corpus, "hap") + of_class(corpus, "ang"):
        row = corpus.rows[number]
        name = row.utterance_id.replace("impro", "script")
        corpus.change(number, utterance_id=name, transcript=corpus.rows[number % 16].transcript)


def laughter(corpus: Corpus) -> None:
    texts(*((n, f"{corpus.rows[n].transcript} [LAUGHTER]") for n in of_class(corpus, "hap")))(corpus)


def same_dialogue(column: str) -> Plant:
    def plant(corpus: Corpus) -> None:
        corpus.column = column
        for number, row in enumerate(corpus.rows):
            corpus.change(number, dialogue=f"talk-{row.session}")

    return plant


def unknown_dialogues(corpus: Corpus) -> None:
    cells(*((n, {"dialogue": row.utterance_id}) for n, row in enumerate(corpus.rows)))(corpus)


def no_transcripts(corpus: Corpus) -> None:
    texts(*((n, "") for n in range(48)))(corpus)


def encoder(
    config: dict[str, object] | None = None, card: str = "", name: str = "encoder", corpus_name: str = "planted"
) -> Plant:
    def plant(corpus: Corpus) -> None:
        corpus.name = corpus_name
        directory = corpus.directory / name
        directory.mkdir()
        (directory / "config.json").write_text(json.dumps(config or {}))
        (directory / "README.md").write_text(card)
        corpus.encoders["speech encoder"] = str(directory)

    return plant


def hub_encoder(name: str, corpus_name: str) -> Plant:
    def plant(corpus: Corpus) -> None:
        corpus.name, corpus.encoders["speech encoder"] = corpus_name, name

    return plant


CLASSES = {"id2label": {"0": "angry", "1": "happy", "2": "sad"}}
LOSSY = 0.25 * np.sin(np.arange(RATE) / 5)
# Key of the finding, what is planted, its severity, its count, and how it is planted.
LEAKS: list[tuple[str, str, str, float | None, Plant]] = [
    ("speakers_in_several_folds", "a speaker", "error", 1, cells((0, {"session": "2"}))),
    ("speaker_contradicts_id", "two names", "error", 1, speaker_under_two_names),
    ("speaker_contradicts_id", "a wrong speaker", "warning", 9, cells((0, {"speaker": "Ses02_F"}))),
    ("prefix_is_not_the_speaker", "markers", "note", 1, recorded_with_the_other_actors_markers),
    ("dialogues_in_several_folds", "partners", "warning", 3, same_dialogue("speaker")),
    ("unknown_dialogues", "empty cells", "warning", 48, unknown_dialogues),
    ("repeated_rows", "across folds", "error", 2, lambda corpus: corpus.change(40, audio=corpus.rows[0].audio)),
    ("repeated_rows", "within a fold", "warning", 2, lambda corpus: corpus.change(4, audio=corpus.rows[0].audio)),
    ("missing_classes", "one class", "warning", 1, cells(*((n, {"emotion": "neu"}) for n in (3, 7, 11, 15)))),
    ("duplicates_across_folds", "a copy", "error", 2, copied_sound(lambda samples: samples)),
    ("duplicates_within_folds", "a copy", "warning", 2, lambda corpus: corpus.record(5, corpus.samples(0))),
    ("near_sounds", "gain", "error", 2, copied_sound(lambda samples: 0.3 * samples)),
    ("near_sounds", "inverted", "error", 2, copied_sound(lambda samples: -samples)),
    ("near_sounds", "trimmed", "error", 2, copied_sound(cut)),
    ("near_sounds", "resampled", "error", 2, copied_sound(at_8_khz, 8000)),
    ("near_sounds", "padded", "error", 2, copied_sound(lambda samples: np.concatenate([np.zeros(9000), samples]))),
    ("near_sounds", "all of these", "error", 2, copied_sound(lambda samples: at_8_khz(cut(2 * samples)), 8000)),
    ("repeated_texts", "word for word", "note", 2, texts((0, LINE), (40, f"{LINE.upper()}!"))),
    ("near_texts", "contractions", "note", 2, texts((0, LINE), (40, "I'm sure that the old horse's still brown"))),
    ("near_texts", "fillers", "note", 2, texts((0, LINE), (40, f"Well, uh, {LINE}"))),
    ("near_texts", "an edit", "note", 2, texts((0, LINE), (40, "I am sure that this old horse is still brown"))),
    ("near_texts", "many with the same label", "warning", 24,
     lambda corpus: texts(*((n + 32, f"{corpus.rows[n].transcript} um") for n in range(12)))(corpus)),
    ("scripted_lines", "scripts", "warning", 24, scripted),
    ("baseline_style", "scripts", "warning", 50.0, scripted),
    ("baseline_scene", "scripts", "warning", None, scripted),
    ("gold_transcripts", "of the corpus", "note", 48, texts()),
    ("annotations", "laughter", "warning", 12, laughter),
    ("empty_transcripts", "none", "note", 2, texts((0, ""), (40, "[LAUGHTER]"))),
    ("unstripped_annotations", "other brackets", "warning", 1, texts((0, "(laughs) table window"))),
    ("unspellable_letters", "digits", "warning", 1, texts((0, "table 12 window garden"))),
    ("no_ctc_target", "digits alone", "warning", 1, texts((0, "12"))),
    ("undecodable_bytes", "a byte", "note", 1, texts((0, "table wi\ufffddow garden letter"))),
    ("validation_shares_dialogues", "partners", "note", 2, same_dialogue("session")),
    ("encoder_origins", "classes", "warning", 1, encoder(CLASSES)),
    ("encoder_origins", "base model", "warning", 1, encoder({"_name_or_path": "someone/wav2vec2-emotion"})),
    ("encoder_origins", "tags", "warning", 1, encoder(card="---\ntags:\n- speech-emotion-recognition\n---\n")),
    ("encoder_origins", "other corpus", "warning", 1, encoder(card="---\ndatasets:\n- RAVDESS\n---\n")),
    ("encoder_origins", "only mentioned", "warning", 1, encoder(card="Tested on EmoDB.\n", corpus_name="emo-db")),
    ("encoder_origins", "this corpus", "error", 1, encoder(card="---\ndatasets:\n- me/planted\n---\n")),
    ("encoder_origins", "mentioned and emotional", "error", 1, encoder(CLASSES, "On EmoDB.\n", corpus_name="emo-db")),
    ("encoder_origins", "directory", "error", 1, encoder(name="wav2vec2-planted")),
    ("encoder_origins", "known", "error", 1, hub_encoder("emotion2vec/emotion2vec_base", "iemocap")),
    ("encoder_origins", "known, other corpus", "warning", 1, hub_encoder("emotion2vec/emotion2vec_base", "ravdess")),
    ("unreadable_recordings", "missing", "error", 1, lambda corpus: corpus.path(0).unlink()),
    ("silent_recordings", "silence", "warning", 2, sounds([0, 40], np.zeros_like)),
    ("clipped_recordings", "overdriven", "note", 2, sounds([0, 40], lambda samples: np.sign(samples))),
    ("dc_offset", "an offset", "note", 2, sounds([0, 40], lambda samples: samples + 0.05)),
    ("audio_formats", "8 kHz", "note", 2, sounds([0, 40], at_8_khz, 8000)),
    ("unusual_durations", "cut wrongly", "note", 1, lambda corpus: corpus.record(0, sound(99, 60.0))),
    ("too_short_for_ctc", "cut wrongly", "warning", 1, lambda corpus: corpus.record(0, sound(99, 0.3))),
    ("loudness", "by class", "warning", None, class_by_level),
    ("baseline_loudness", "by class", "warning", None, class_by_level),
    ("baseline_length_and_loudness", "by class", "warning", None, class_by_level),
    ("baseline_length_of_the_recording", "by class", "warning", 100.0, class_by_length),
    ("baseline_length_of_the_text", "by class", "warning", None, class_by_words),
]  # fmt: skip
HEARD = (
    *(
        "duplicates",
        "near_sounds",
        "unreadable",
        "silent",
        "clipped",
        "dc_offset",
        "audio_formats",
        "unusual",
        "too_short",
    ),
    *("loudness", "baseline_loudness", "baseline_length_and", "baseline_length_of_the_recording"),
)


@pytest.mark.parametrize(
    ("key", "severity", "count", "plant"),
    [(key, *rest) for key, _, *rest in LEAKS],
    ids=[f"{key}: {kind}" for key, kind, *_ in LEAKS],
)
def test_a_planted_leak_is_found(clean, tmp_path, key, severity, count, plant):
    corpus = clean.copied(tmp_path)
    plant(corpus)
    finding = found(corpus.audit(audio=key.startswith(HEARD)), key)
    assert finding["severity"] == severity, finding
    if count is not None:
        assert finding["value"] == count, finding
    assert finding["examples"] or not isinstance(count, int) or key in ("gold_transcripts", "unknown_dialogues")


def test_a_corpus_without_leaks_has_none(clean_audit):
    assert {
        finding["key"]: finding["severity"] for finding in clean_audit["findings"] if finding["severity"] != "ok"
    } == {"gold_transcripts": "note"}


# What is like a leak, and is none.
LOOKALIKES: list[tuple[str, str, Plant]] = [
    ("gold_transcripts", "no transcripts", no_transcripts),
    ("near_sounds", "the same samples belong to the duplicates", copied_sound(lambda samples: samples)),
    ("near_sounds", "the same rhythm", lambda corpus: [corpus.record(n, sound(n, 1.3, 7)) for n in (0, 40)] and None),
    ("near_sounds", "the same tone",
     lambda corpus: [corpus.record(n, LOSSY + sound(n, 1.0) / 10) for n in (0, 40)] and None),
    ("near_sounds", "within a fold", lambda corpus: corpus.record(4, 0.3 * corpus.samples(0))),
    ("near_texts", "exact repeats belong to the repeated texts", texts((0, LINE), (40, LINE))),
    ("near_texts", "the same beginning", texts((0, LINE), (40, "I am sure that the old teacher went to the market"))),
    ("near_texts", "short texts", texts((0, "I am fine"), (40, "I'm fine"))),
    ("near_texts", "within a fold", texts((0, LINE), (4, "I'm sure that the old horse's still brown"))),
    ("encoder_origins", "LABEL_0", encoder({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}})),
    ("encoder_origins", "a word of the card", encoder(card="---\ntags:\n- planted\n---\nA planted encoder.\n")),
    ("encoder_origins", "a damaged card", encoder(card="---\n: [\n---\n")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "plant"),
    [(key, plant) for key, _, plant in LOOKALIKES],
    ids=[f"{key}: {kind}" for key, kind, _ in LOOKALIKES],
)
def test_a_lookalike_is_no_leak(clean, tmp_path, key, plant):
    corpus = clean.copied(tmp_path)
    plant(corpus)
    finding = found(corpus.audit(audio=key.startswith(HEARD)), key)
    assert (finding["severity"], finding["value"]) == ("ok", 0), finding


def test_every_finding_is_planted_somewhere(clean_audit):
    keys = {finding["key"] for finding in clean_audit["findings"]}
    assert keys <= {key for key, *_ in LEAKS}
