"""The audit of rows and transcripts: each planted fault is found as often as it was planted."""

import numpy as np
import pytest
from helpers.audit_example import changed, found, texts_alone
from scipy.stats import hypergeom

from mmer_pipeline.audit.association import association
from mmer_pipeline.audit.corpus_split import split_by
from mmer_pipeline.audit.finding import Finding
from mmer_pipeline.audit.repeated_texts import look_up
from mmer_pipeline.audit.run_audit import SEVERITIES, make_audit
from mmer_pipeline.corpora.folds import make_fold
from mmer_pipeline.errors import UserError

LINE = "we will meet behind the old mill"


def audit_texts(manifest, column="session"):
    return make_audit(manifest, column=column, audio=False)


def test_the_figure_of_a_finding_is_formatted():
    assert Finding("k", "note", "t", 2750, "utterances", "m", 5531).figure == "2,750 of 5,531 utterances (49.7 %)"
    assert Finding("k", "note", "t", 0, "utterances", "m", 5531).figure == "0 of 5,531 utterances"
    assert Finding("k", "note", "t", 16.54, "dB", "m").figure == "16.5 dB"


def test_findings_are_in_the_order_of_their_severity(tiny_corpus):
    audit = audit_texts(changed(tiny_corpus(), lambda n, _: {"session": "2"} if n == 0 else {}))
    order = [list(SEVERITIES).index(finding["severity"]) for finding in audit["findings"]]
    assert order == sorted(order)
    assert order[0] == 0
    assert audit["severities"] == {name: order.count(n) for n, name in enumerate(SEVERITIES)}
    assert all(len(finding["examples"]) <= 5 for finding in audit["findings"])


def test_a_speaker_in_two_folds_is_an_error_and_named(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda n, _: {"session": "2"} if n == 0 else {})
    finding = found(audit_texts(manifest), "speakers_in_several_folds")
    assert (finding["severity"], finding["value"], finding["total"]) == ("error", 1, 4)
    assert finding["examples"] == ["1F: in session 1, 2"]
    assert found(audit_texts(manifest, "speaker"), "speakers_in_several_folds")["severity"] == "ok"


def test_unknown_dialogues_are_a_warning(tiny_corpus):
    finding = found(
        audit_texts(changed(tiny_corpus(), lambda _, row: {"dialogue": row.utterance_id})), "unknown_dialogues"
    )
    assert (finding["severity"], finding["value"]) == ("warning", 16)
    assert "Fill in the column dialogue" in finding["meaning"]


def test_dialogues_across_folds_are_a_warning(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda _, row: {"dialogue": f"talk{row.session}"})
    assert found(audit_texts(manifest), "dialogues_in_several_folds")["severity"] == "ok"
    finding = found(audit_texts(manifest, "speaker"), "dialogues_in_several_folds")
    assert (finding["severity"], finding["value"], finding["total"]) == ("warning", 2, 2)


def iemocap_ids(row, n):
    """Both actors speak in the recordings of both prefixes."""
    return f"Ses0{row.session}{'FM'[n // 4 % 2]}_impro01_{'FM'[n % 2]}{n:03d}"


def test_speakers_taken_from_the_prefix_are_an_error_in_folds_by_speaker(tiny_corpus):
    honest = changed(tiny_corpus(), lambda n, row: {"utterance_id": iemocap_ids(row, n),
                                                    "speaker": f"Ses0{row.session}_{'FM'[n % 2]}"})  # fmt: skip
    audit = audit_texts(honest, "speaker")
    assert found(audit, "speaker_contradicts_id")["severity"] == "ok"
    prefix = found(audit, "prefix_is_not_the_speaker")
    assert (prefix["severity"], prefix["value"]) == ("note", 8)
    assert "the speaker of 16 of 16 test utterances" in prefix["meaning"]
    by_prefix = changed(honest, lambda _, row: {"speaker": row.utterance_id[:6]})
    finding = found(audit_texts(by_prefix, "speaker"), "speaker_contradicts_id")
    assert (finding["severity"], finding["value"]) == ("error", 16)
    assert found(audit_texts(by_prefix, "session"), "speaker_contradicts_id")["severity"] == "warning"


def test_an_actor_under_two_names_is_an_error_in_folds_by_speaker(tiny_corpus):
    two_names = changed(tiny_corpus(), lambda n, row: {"utterance_id": iemocap_ids(row, n),
                                                       "speaker": iemocap_ids(row, n)[:6] + "FM"[n % 2]})  # fmt: skip
    audit = audit_texts(two_names, "speaker")
    finding = found(audit, "speaker_contradicts_id")
    assert found(audit, "speakers_in_several_folds")["severity"] == "ok"
    assert (finding["severity"], finding["figure"]) == ("error", "4 of 4 actors")
    assert finding["examples"][0] == "Ses01_F: in speaker Ses01FF, Ses01MF"
    assert found(audit_texts(two_names, "session"), "speaker_contradicts_id")["severity"] == "ok"


def test_a_prefix_that_is_the_speaker_is_ok(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda n, row: {"utterance_id": f"Ses0{row.session}F_impro01_F{n:03d}",
                                                      "speaker": f"Ses0{row.session}_F"})  # fmt: skip
    assert found(audit_texts(manifest), "prefix_is_not_the_speaker")["severity"] == "ok"


def own_split(n, _):
    return {"session": "train" if n < 8 else "dev" if n < 10 else "test", "transcript": f"{LINE} {n % 6}"}


def test_an_official_split_tests_only_on_its_test_part(tiny_corpus):
    manifest = changed(tiny_corpus(), own_split)
    audit = audit_texts(manifest, "split")
    assert audit["held_out"] == ["test"]
    assert [(fold["fold"], fold["utterances"]) for fold in audit["counts"]["folds"]] == [
        ("test", 6),
        ("train and dev", 10),
    ]
    assert audit["repeated_texts"]["all"]["utterances"] == audit["repeated_texts"]["all"]["repeated"] == 6
    assert audit["repeated_texts"]["folds"][0]["excluded"] == 10
    assert {row["utterances"] for row in audit["baselines"]["rows"]} == {6}
    shared = changed(manifest, lambda n, _: {"speaker": "both"} if n in (0, 15) else {})
    finding = found(audit_texts(shared, "split"), "speakers_in_several_folds")
    assert (finding["severity"], audit["severities"]["error"]) == ("warning", 0)
    assert "training and the test part of the official split" in finding["meaning"]


def test_a_corpus_without_an_official_split_is_refused_one(tiny_corpus):
    with pytest.raises(UserError, match="requires the sessions train, dev, test"):
        audit_texts(tiny_corpus(), "split")


def test_ids_of_another_form_are_not_checked_for_a_prefix(tiny_corpus):
    keys = {finding["key"] for finding in audit_texts(tiny_corpus())["findings"]}
    assert not keys & {"prefix_is_not_the_speaker", "speaker_contradicts_id", "published_counts"}


def test_counts_are_compared_with_the_published_ones(tmp_path):
    rows = [(str(s), label, "so be it") for s in range(1, 6) for label in ("hap", "ang", "neu", "sad")]
    finding = found(audit_texts(texts_alone(rows, tmp_path / "m.csv", "iemocap")), "published_counts")
    assert finding["severity"] == "warning"
    assert finding["value"] == finding["total"]
    assert "Expected the published 5,531 utterances, found 20" in finding["meaning"]


def test_a_class_missing_from_a_fold_and_rows_of_the_same_recording_are_warnings(tiny_corpus):
    first = tiny_corpus().utterances[0].audio
    manifest = changed(tiny_corpus(), lambda n, row: {
        "emotion": "neu" if row.session == "1" and row.emotion == "sad" else row.emotion,
        "audio": first if n == 3 else row.audio,
    })  # fmt: skip
    audit = audit_texts(manifest)
    assert found(audit, "missing_classes")["examples"] == ["fold 1 (1) has no sad"]
    assert (found(audit, "repeated_rows")["value"], found(audit, "repeated_rows")["examples"]) == (2, [first])
    assert "With different labels: 1." in found(audit, "repeated_rows")["meaning"]
    assert found(audit, "repeated_rows")["severity"] == "warning"


def test_rows_of_the_same_recording_in_two_folds_are_an_error_even_without_audio(tiny_corpus):
    first = tiny_corpus().utterances[0].audio
    finding = found(audit_texts(changed(tiny_corpus(), lambda n, row: {"audio": first if n == 15 else row.audio})),
                    "repeated_rows")  # fmt: skip
    assert (finding["severity"], finding["value"]) == ("error", 2)
    assert "In different folds: 1;" in finding["meaning"]


def test_guessing_is_one_over_the_classes_that_occur(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda _, row: {"emotion": "neu" if row.emotion == "sad" else row.emotion})
    assert audit_texts(manifest)["baselines"]["chance_ua"] == pytest.approx(1 / 3)


def test_a_single_fold_is_refused(tiny_corpus):
    with pytest.raises(UserError, match="has only one session"):
        audit_texts(changed(tiny_corpus(), lambda *_: {"session": "1"}))


def annotated(tmp_path):
    rows = []
    for session in ("1", "2"):
        for n in range(40):
            emotion = ("hap", "ang", "neu", "sad")[n % 4]
            text = f"{LINE} {session} {n}" if n < 8 else f"this is sentence {n} of part {session}"
            rows.append((session, emotion, text + (" [LAUGHTER]" if emotion == "hap" and n < 36 else "")))
    rows[3] = ("1", "sad", "[BREATHING]")
    rows[7] = ("1", "sad", "(laughs) no")
    rows[11] = ("1", "sad", "LG no")
    rows[15] = ("1", "sad", "żółw")
    rows[19] = ("1", "sad", "żół\ufffdw")
    return texts_alone(rows, tmp_path / "manifest.csv")


def test_annotations_are_counted_by_kind_and_a_warning_if_they_reveal_the_label(tmp_path):
    audit = audit_texts(annotated(tmp_path))
    kinds = {kind["text"]: kind for kind in audit["annotations"]["kinds"]}
    assert kinds["[LAUGHTER]"]["classes"] == {"happy": 18, "angry": 0, "neutral": 0, "sad": 0}
    assert kinds["[BREATHING]"]["occurrences"] == 1
    finding = found(audit, "annotations")
    assert (finding["severity"], finding["value"]) == ("warning", 19)
    assert "with [LAUGHTER], 18 of 18 are happy, compared with 25.0 % of all" in finding["meaning"]


def test_unstripped_annotations_and_letters_that_ctc_cannot_spell_are_counted(tmp_path):
    audit = audit_texts(annotated(tmp_path))
    assert found(audit, "empty_transcripts")["examples"] == ["u3 (sad): “[BREATHING]”"]
    assert found(audit, "empty_transcripts")["severity"] == "note"
    assert [text[:3] for text in found(audit, "unstripped_annotations")["examples"]] == ["u7 ", "u11"]
    assert found(audit, "no_ctc_target")["value"] == 1
    assert found(audit, "unspellable_letters")["severity"] == "warning"
    assert {"Ż", "Ó", "Ł"} <= set(audit["annotations"]["unspellable_letters"])
    assert found(audit, "undecodable_bytes")["value"] == 1


def test_codes_in_a_text_in_capitals_are_words(tmp_path):
    rows = [(s, e, "HER LAUGHTER FILLED THE ROOM") for s in "12" for e in ("hap", "ang")]
    assert found(audit_texts(texts_alone(rows, tmp_path / "m.csv")), "unstripped_annotations")["value"] == 0


def test_the_association_of_a_group_is_the_hypergeometric_tail(tmp_path):
    split = split_by(annotated(tmp_path), "session")
    members = np.arange(80) % 4 == 0
    members[:20] = np.arange(20) % 3 == 0
    goes = association(split, members)
    inside = int((split.truth[members] == 0).sum())
    drawn = hypergeom(80, int((split.truth == 0).sum()), int(members.sum()))
    assert (goes.label, goes.inside) == ("happy", inside)
    assert goes.p == pytest.approx(4 * sum(drawn.pmf(n) for n in range(inside, 81)))
    assert goes.significant
    assert not association(split, np.zeros(80, dtype=bool)).significant
    assert not association(split, np.ones(80, dtype=bool)).significant


def test_a_small_group_is_not_significant_at_one_in_a_few_thousand(tmp_path):
    rows = [(str(n % 2), "hap" if n < 30 else "sad", f"{n}") for n in range(1200)]  # 2.5 % are happy
    split = split_by(texts_alone(rows, tmp_path / "m.csv"), "session")
    members = np.isin(np.arange(1200), [*range(3), *range(100, 107)])  # three of ten, 5 standard deviations above
    assert association(split, members).p > 1 / 1000
    assert not association(split, members).significant


def repeated(tmp_path):
    """Texts repeated in all three sessions: 4 keep their label, 4 have another one in session 3."""
    rows = []
    for session in ("1", "2", "3"):
        rows += [(session, "hap" if n < 4 or session < "3" else "sad", f"{LINE}, number {n}!") for n in range(8)]
        rows += [(session, "ang", f"nobody else in {session} says {n}") for n in range(10)]
        rows += [(session, "neu", "Yes.")]
    return texts_alone(rows, tmp_path / "manifest.csv")


def test_utterances_without_a_transcript_are_counted_and_not_quoted(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda n, _: {"transcript": ("", "[LAUGHTER]")[n % 2]} if n < 4 else {})
    finding = found(audit_texts(manifest), "empty_transcripts")
    assert (finding["severity"], finding["value"]) == ("note", 4)
    assert (
        "2 have no transcript at all: train with `--transcripts asr` or `none`, or a system that only hears."
        in finding["meaning"]
    )
    assert finding["examples"][:2] == ["1F-1-hap (happy): no transcript", "1F-1-ang (angry): “[LAUGHTER]”"]


def test_a_corpus_without_any_transcript_can_be_audited(tiny_corpus):
    audit = audit_texts(changed(tiny_corpus(), lambda *_: {"transcript": ""}))
    assert found(audit, "empty_transcripts")["value"] == found(audit, "no_ctc_target")["value"] == 16
    assert found(audit, "repeated_texts")["severity"] == "ok"
    assert found(audit, "baseline_length_of_the_text")["value"] == 25.0


def test_repeated_texts_and_how_often_a_look_up_is_correct(tmp_path):
    audit = audit_texts(repeated(tmp_path))
    finding = found(audit, "repeated_texts")
    # Session 3 gets four wrong. In sessions 1 and 2 these are tied, happy and sad once each; happy is more frequent.
    assert (finding["severity"], finding["value"]) == ("warning", 24)
    assert audit["repeated_texts"]["all"] | {"name": ""} == {
        "name": "", "utterances": 54, "repeated": 24, "correct": 20, "majority_correct": 0,
    }  # fmt: skip
    assert [row["correct"] for row in audit["repeated_texts"]["folds"]] == [8, 8, 4]
    assert {row["name"]: row["repeated"] for row in audit["repeated_texts"]["lengths"]}["1 word"] == 3
    assert finding["meaning"].startswith("They are 8 different texts.")


def test_a_look_up_that_chance_may_explain_is_no_significant_gain(tmp_path):
    rows = [(str(s), ("hap", "sad")[(s + n) % 2], f"{LINE}, number {n}") for s in range(2) for n in range(4)]
    meaning = found(audit_texts(texts_alone(rows, tmp_path / "m.csv")), "repeated_texts")["meaning"]
    assert "no significant gain" in meaning


def test_text_disjoint_folds_exclude_as_many_as_the_audit_says(tmp_path):
    manifest = repeated(tmp_path)
    excluded = look_up(split_by(manifest, "session")).excluded
    for number, expected in enumerate(excluded, start=1):
        fold = make_fold(manifest, number, column="session", validation="none", seed=0, text_disjoint=True)
        assert len(fold.left_out) == expected == 18


def test_the_length_of_the_text_is_a_warning_if_it_reveals_the_class_and_ok_otherwise(tmp_path):
    words = {"hap": 1, "ang": 6, "neu": 20, "sad": 60}
    rows = [(f"{s}", e, f"{'word ' * n}{s} {k}") for s in range(6) for e, n in words.items() for k in range(5)]
    audit = audit_texts(texts_alone(rows, tmp_path / "manifest.csv"))
    finding = found(audit, "baseline_length_of_the_text")
    assert finding["severity"] == "warning"
    assert finding["value"] > 90
    (majority,) = [row for row in audit["baselines"]["rows"] if row["name"] == "majority class"]
    assert (majority["wa"], majority["ua"]) == (0.25, 0.25)
    same = [(s, e, "all of one length") for s, e, _ in rows]
    finding = found(audit_texts(texts_alone(same, tmp_path / "manifest.csv")), "baseline_length_of_the_text")
    assert (finding["severity"], finding["value"]) == ("ok", 25.0)
