"""The audit of rows and transcripts: each planted fault is found as often as it was planted."""

import numpy as np
import pytest
from helpers.audit_example import changed, found, texts_alone
from scipy.stats import hypergeom

from mmer_pipeline.audit.finding import Finding
from mmer_pipeline.audit.recurring import look_up
from mmer_pipeline.audit.review import SEVERITIES, make_audit
from mmer_pipeline.audit.split import lean, split_by
from mmer_pipeline.corpora.folds import make_fold
from mmer_pipeline.errors import UserError

LINE = "we will meet behind the old mill"


def audit_texts(manifest, column="session"):
    return make_audit(manifest, column=column, audio=False)


def test_a_finding_says_its_figure_as_people_write_it():
    assert Finding("k", "know", "t", 2750, "utterances", "m", 5531).figure == "2,750 of 5,531 utterances (49.7 %)"
    assert Finding("k", "know", "t", 0, "utterances", "m", 5531).figure == "0 of 5,531 utterances"
    assert Finding("k", "know", "t", 16.54, "dB", "m").figure == "16.5 dB"


def test_findings_stand_in_the_order_of_how_much_they_matter(tiny_corpus):
    audit = audit_texts(changed(tiny_corpus(), lambda n, _: {"session": "2"} if n == 0 else {}))
    order = [list(SEVERITIES).index(finding["severity"]) for finding in audit["findings"]]
    assert order == sorted(order)
    assert order[0] == 0
    assert audit["severities"] == {name: order.count(n) for n, name in enumerate(SEVERITIES)}
    assert all(len(finding["examples"]) <= 5 for finding in audit["findings"])


def test_a_speaker_in_two_folds_is_wrong_and_named(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda n, _: {"session": "2"} if n == 0 else {})
    finding = found(audit_texts(manifest), "speakers_in_several_folds")
    assert (finding["severity"], finding["value"], finding["total"]) == ("wrong", 1, 4)
    assert finding["examples"] == ["1F: in session 1, 2"]
    assert found(audit_texts(manifest, "speaker"), "speakers_in_several_folds")["severity"] == "fine"


def test_dialogues_of_which_nothing_is_known_weigh(tiny_corpus):
    finding = found(
        audit_texts(changed(tiny_corpus(), lambda _, row: {"dialogue": row.utterance_id})), "dialogues_are_unknown"
    )
    assert (finding["severity"], finding["value"]) == ("weigh", 16)
    assert "Fill in the column dialogue" in finding["meaning"]


def test_dialogues_across_folds_weigh(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda _, row: {"dialogue": f"talk{row.session}"})
    assert found(audit_texts(manifest), "dialogues_in_several_folds")["severity"] == "fine"
    finding = found(audit_texts(manifest, "speaker"), "dialogues_in_several_folds")
    assert (finding["severity"], finding["value"], finding["total"]) == ("weigh", 2, 2)


def iemocap_ids(row, n):
    """Both actors speak in the recordings of both prefixes."""
    return f"Ses0{row.session}{'FM'[n // 4 % 2]}_impro01_{'FM'[n % 2]}{n:03d}"


def test_speakers_taken_from_the_prefix_are_wrong_where_they_make_the_folds(tiny_corpus):
    honest = changed(tiny_corpus(), lambda n, row: {"utterance_id": iemocap_ids(row, n),
                                                    "speaker": f"Ses0{row.session}_{'FM'[n % 2]}"})  # fmt: skip
    audit = audit_texts(honest, "speaker")
    assert found(audit, "speaker_is_not_that_of_the_id")["severity"] == "fine"
    prefix = found(audit, "prefix_is_not_the_speaker")
    assert (prefix["severity"], prefix["value"]) == ("know", 8)
    assert "the speaker of 16 of 16 test utterances" in prefix["meaning"]
    by_prefix = changed(honest, lambda _, row: {"speaker": row.utterance_id[:6]})
    finding = found(audit_texts(by_prefix, "speaker"), "speaker_is_not_that_of_the_id")
    assert (finding["severity"], finding["value"]) == ("wrong", 16)
    assert found(audit_texts(by_prefix, "session"), "speaker_is_not_that_of_the_id")["severity"] == "weigh"


def test_one_person_under_two_names_is_wrong_where_names_make_the_folds(tiny_corpus):
    two_names = changed(tiny_corpus(), lambda n, row: {"utterance_id": iemocap_ids(row, n),
                                                       "speaker": iemocap_ids(row, n)[:6] + "FM"[n % 2]})  # fmt: skip
    audit = audit_texts(two_names, "speaker")
    finding = found(audit, "speaker_is_not_that_of_the_id")
    assert found(audit, "speakers_in_several_folds")["severity"] == "fine"
    assert (finding["severity"], finding["figure"]) == ("wrong", "4 of 4 persons")
    assert finding["examples"][0] == "Ses01_F: in speaker Ses01FF, Ses01MF"
    assert found(audit_texts(two_names, "session"), "speaker_is_not_that_of_the_id")["severity"] == "fine"


def test_a_prefix_that_is_the_speaker_is_fine(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda n, row: {"utterance_id": f"Ses0{row.session}F_impro01_F{n:03d}",
                                                      "speaker": f"Ses0{row.session}_F"})  # fmt: skip
    assert found(audit_texts(manifest), "prefix_is_not_the_speaker")["severity"] == "fine"


def own_split(n, _):
    return {"session": "train" if n < 8 else "dev" if n < 10 else "test", "transcript": f"{LINE} {n % 6}"}


def test_a_corpus_s_own_split_tests_on_its_test_part_alone(tiny_corpus):
    manifest = changed(tiny_corpus(), own_split)
    audit = audit_texts(manifest, "split")
    assert audit["held_out"] == ["test"]
    assert [(fold["fold"], fold["utterances"]) for fold in audit["counts"]["folds"]] == [
        ("test", 6),
        ("train and dev", 10),
    ]
    assert audit["recurring"]["all"]["utterances"] == audit["recurring"]["all"]["recurring"] == 6
    assert audit["recurring"]["folds"][0]["left_out"] == 10
    assert {row["utterances"] for row in audit["baselines"]["rows"]} == {6}
    shared = changed(manifest, lambda n, _: {"speaker": "both"} if n in (0, 15) else {})
    finding = found(audit_texts(shared, "split"), "speakers_in_several_folds")
    assert (finding["severity"], audit["severities"]["wrong"]) == ("weigh", 0)
    assert "as the corpus's own split has it" in finding["meaning"]


def test_a_corpus_without_a_split_of_its_own_is_refused_one(tiny_corpus):
    with pytest.raises(UserError, match="needs the sessions train, dev, test"):
        audit_texts(tiny_corpus(), "split")


def test_other_ids_are_not_asked_for_a_prefix(tiny_corpus):
    keys = {finding["key"] for finding in audit_texts(tiny_corpus())["findings"]}
    assert not keys & {"prefix_is_not_the_speaker", "speaker_is_not_that_of_the_id", "published_counts"}


def test_a_corpus_with_published_counts_is_held_against_them(tmp_path):
    rows = [(str(s), label, "so be it") for s in range(1, 6) for label in ("hap", "ang", "neu", "sad")]
    finding = found(audit_texts(texts_alone(rows, tmp_path / "m.csv", "iemocap")), "published_counts")
    assert finding["severity"] == "weigh"
    assert finding["value"] == finding["total"]
    assert "20 utterances instead of the published 5,531" in finding["meaning"]


def test_a_class_that_a_fold_lacks_and_rows_of_the_same_recording_weigh(tiny_corpus):
    first = tiny_corpus().utterances[0].audio
    manifest = changed(tiny_corpus(), lambda n, row: {
        "emotion": "neu" if row.session == "1" and row.emotion == "sad" else row.emotion,
        "audio": first if n == 3 else row.audio,
    })  # fmt: skip
    audit = audit_texts(manifest)
    assert found(audit, "missing_classes")["examples"] == ["fold 1 (1) has no sad"]
    assert (found(audit, "repeated_rows")["value"], found(audit, "repeated_rows")["examples"]) == (2, [first])
    assert "1 of these recordings have two labels" in found(audit, "repeated_rows")["meaning"]
    assert found(audit, "repeated_rows")["severity"] == "weigh"


def test_rows_of_the_same_recording_in_two_folds_are_wrong_without_hearing_it(tiny_corpus):
    first = tiny_corpus().utterances[0].audio
    finding = found(audit_texts(changed(tiny_corpus(), lambda n, row: {"audio": first if n == 15 else row.audio})),
                    "repeated_rows")  # fmt: skip
    assert (finding["severity"], finding["value"]) == ("wrong", 2)
    assert "1 stand in different folds" in finding["meaning"]


def test_guessing_is_one_over_the_classes_that_occur(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda _, row: {"emotion": "neu" if row.emotion == "sad" else row.emotion})
    assert audit_texts(manifest)["baselines"]["chance_ua"] == pytest.approx(1 / 3)


def test_one_fold_alone_is_refused(tiny_corpus):
    with pytest.raises(UserError, match="one session alone"):
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


def test_annotations_are_counted_by_kind_and_weigh_where_they_tell_the_label(tmp_path):
    audit = audit_texts(annotated(tmp_path))
    kinds = {kind["text"]: kind for kind in audit["annotations"]["kinds"]}
    assert kinds["[LAUGHTER]"]["classes"] == {"happy": 18, "angry": 0, "neutral": 0, "sad": 0}
    assert kinds["[BREATHING]"]["occurrences"] == 1
    finding = found(audit, "annotations")
    assert (finding["severity"], finding["value"]) == ("weigh", 19)
    assert "with [LAUGHTER] 18 of 18 are happy, which 25.0 % of all are" in finding["meaning"]


def test_what_stripping_leaves_and_what_ctc_cannot_spell_is_counted(tmp_path):
    audit = audit_texts(annotated(tmp_path))
    assert found(audit, "empty_texts")["examples"] == ["u3 (sad): “[BREATHING]”"]
    assert found(audit, "empty_texts")["severity"] == "know"
    assert [text[:3] for text in found(audit, "annotations_that_stay")["examples"]] == ["u7 ", "u11"]
    assert found(audit, "no_ctc_target")["value"] == 1
    assert found(audit, "letters_ctc_loses")["severity"] == "weigh"
    assert {"Ż", "Ó", "Ł"} <= set(audit["annotations"]["lost_letters"])
    assert found(audit, "replaced_bytes")["value"] == 1


def test_capitals_alone_are_words_and_no_codes(tmp_path):
    rows = [(s, e, "HER LAUGHTER FILLED THE ROOM") for s in "12" for e in ("hap", "ang")]
    assert found(audit_texts(texts_alone(rows, tmp_path / "m.csv")), "annotations_that_stay")["value"] == 0


def test_how_a_group_leans_is_judged_by_the_hypergeometric_tail(tmp_path):
    split = split_by(annotated(tmp_path), "session")
    members = np.arange(80) % 4 == 0
    members[:20] = np.arange(20) % 3 == 0
    goes = lean(split, members)
    inside = int((split.truth[members] == 0).sum())
    drawn = hypergeom(80, int((split.truth == 0).sum()), int(members.sum()))
    assert (goes.label, goes.inside) == ("happy", inside)
    assert goes.p == pytest.approx(4 * sum(drawn.pmf(n) for n in range(inside, 81)))
    assert goes.tells
    assert not lean(split, np.zeros(80, dtype=bool)).tells
    assert not lean(split, np.ones(80, dtype=bool)).tells


def test_a_small_group_tells_nothing_by_a_chance_of_one_in_a_few_thousand(tmp_path):
    rows = [(str(n % 2), "hap" if n < 30 else "sad", f"{n}") for n in range(1200)]  # 2.5 % are happy
    split = split_by(texts_alone(rows, tmp_path / "m.csv"), "session")
    members = np.isin(np.arange(1200), [*range(3), *range(100, 107)])  # three of ten, 5 standard deviations above
    assert lean(split, members).p > 1 / 1000
    assert not lean(split, members).tells


def recurring(tmp_path):
    """Lines that recur in all three sessions: 4 agree on the label, 4 have another one in session 3."""
    rows = []
    for session in ("1", "2", "3"):
        rows += [(session, "hap" if n < 4 or session < "3" else "sad", f"{LINE}, number {n}!") for n in range(8)]
        rows += [(session, "ang", f"nobody else in {session} says {n}") for n in range(10)]
        rows += [(session, "neu", "Yes.")]
    return texts_alone(rows, tmp_path / "manifest.csv")


def test_recurring_lines_and_what_a_look_up_gets_right(tmp_path):
    audit = audit_texts(recurring(tmp_path))
    finding = found(audit, "recurring_lines")
    # Session 3 is wrong on four; in sessions 1 and 2 these have a tie: happy and sad once each, happy more frequent.
    assert (finding["severity"], finding["value"]) == ("weigh", 24)
    assert audit["recurring"]["all"] | {"name": ""} == {
        "name": "", "utterances": 54, "recurring": 24, "right": 20, "majority_right": 0,
    }  # fmt: skip
    assert [row["right"] for row in audit["recurring"]["folds"]] == [8, 8, 4]
    assert {row["name"]: row["recurring"] for row in audit["recurring"]["lengths"]}["1 word"] == 3
    assert finding["meaning"].startswith("They are 8 different lines.")


def test_a_look_up_that_chance_may_explain_is_called_no_more_than_that(tmp_path):
    rows = [(str(s), ("hap", "sad")[(s + n) % 2], f"{LINE}, number {n}") for s in range(2) for n in range(4)]
    meaning = found(audit_texts(texts_alone(rows, tmp_path / "m.csv")), "recurring_lines")["meaning"]
    assert "no more than chance would" in meaning


def test_text_disjoint_folds_leave_out_as_many_as_the_audit_says(tmp_path):
    manifest = recurring(tmp_path)
    said = look_up(split_by(manifest, "session")).left_out
    for number, expected in enumerate(said, start=1):
        fold = make_fold(manifest, number, column="session", validation="none", seed=0, text_disjoint=True)
        assert len(fold.left_out) == expected == 18


def test_the_length_of_the_text_weighs_where_it_is_enough_and_is_fine_where_it_is_not(tmp_path):
    words = {"hap": 1, "ang": 6, "neu": 20, "sad": 60}
    rows = [(f"{s}", e, f"{'word ' * n}{s} {k}") for s in range(6) for e, n in words.items() for k in range(5)]
    audit = audit_texts(texts_alone(rows, tmp_path / "manifest.csv"))
    finding = found(audit, "baseline_length_of_the_text")
    assert finding["severity"] == "weigh"
    assert finding["value"] > 90
    (majority,) = [row for row in audit["baselines"]["rows"] if row["name"] == "majority class"]
    assert (majority["wa"], majority["ua"]) == (0.25, 0.25)
    same = [(s, e, "all of one length") for s, e, _ in rows]
    finding = found(audit_texts(texts_alone(same, tmp_path / "manifest.csv")), "baseline_length_of_the_text")
    assert (finding["severity"], finding["value"]) == ("fine", 25.0)
