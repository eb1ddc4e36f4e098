"""The audit of recordings: each planted fault is found as often as it was planted, by an independent count."""

import numpy as np
import pytest
import soundfile
from helpers.audit_example import RATE, changed, found, rewritten, write

from mmer_pipeline.audit.audit_page import html
from mmer_pipeline.audit.recording_measurements import FLOOR_DBFS, Recording, audio_digest, measure_all
from mmer_pipeline.audit.run_audit import make_audit

TIME = np.arange(RATE) / RATE


def sine(pitch=200.0, height=0.5, seconds=1.0):
    return height * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)


def path_of(manifest, number):
    return manifest.audio_path(manifest.utterances[number])


def test_an_intact_corpus_has_no_errors(tiny_corpus):
    seen = []
    audit = make_audit(tiny_corpus(), progress=lambda done, total: seen.append((done, total)))
    assert audit["severities"]["error"] == 0
    assert seen == [(n, 16) for n in range(1, 17)]
    assert audit["recordings"]["formats"] == [{"sample_rate_hz": RATE, "channels": 1, "recordings": 16}]
    seconds = sum(soundfile.info(path_of(tiny_corpus(), n)).duration for n in range(16))
    assert audit["recordings"]["hours"] == pytest.approx(seconds / 3600, abs=1e-6)


def test_facts_of_a_recording_agree_with_its_waveform(tiny_corpus):
    manifest = tiny_corpus()
    write(path_of(manifest, 0), sine(height=1.0) * 0.9, subtype="FLOAT")
    write(path_of(manifest, 1), np.concatenate([sine(), np.zeros(RATE)]) + 0.1, subtype="FLOAT")
    write(path_of(manifest, 2), np.clip(sine(50, 1.6), -1, 1), subtype="FLOAT")
    write(path_of(manifest, 3), np.zeros(RATE))
    loud, shifted, clipped, silent = measure_all(manifest)[:4]
    assert loud.rms_dbfs == pytest.approx(20 * np.log10(0.9) - 3.0103, abs=1e-3)
    assert (loud.seconds, loud.clipped) == (1.0, 0)
    assert shifted.dc == pytest.approx(0.1, abs=1e-4)
    assert shifted.rms_dbfs == pytest.approx(20 * np.log10(0.5) - 6.0206, abs=1e-2)  # half of it is silent
    assert clipped.clipped == (np.abs(np.clip(sine(50, 1.6), -1, 1)) >= 0.999).sum()
    assert (silent.rms_dbfs, silent.pauses) == (FLOOR_DBFS, 1.0)


def test_pauses_are_forty_decibels_below_the_loudest_frame(tiny_corpus):
    manifest = tiny_corpus()
    write(path_of(manifest, 0), np.concatenate([sine(), sine(height=0.004), sine(height=0.02)]), subtype="FLOAT")
    assert measure_all(manifest)[0].pauses == pytest.approx(1 / 3)


def test_missing_and_damaged_recordings_are_errors(tiny_corpus):
    manifest = tiny_corpus()
    path_of(manifest, 2).unlink()
    path_of(manifest, 5).write_bytes(b"no sound")
    audit = make_audit(manifest)
    finding = found(audit, "unreadable_recordings")
    assert (finding["severity"], finding["value"]) == ("error", 2)
    assert "1 missing, 1 unreadable" in finding["meaning"]
    assert str(path_of(manifest, 2)) in finding["examples"][0]
    assert audit["audio_digest"] is None
    assert {row["utterances"] for row in audit["baselines"]["rows"]} == {14, 16}


def test_the_same_samples_in_two_folds_are_an_error_whatever_the_container(tiny_corpus):
    manifest = tiny_corpus()
    samples, _ = soundfile.read(path_of(manifest, 0), dtype="int16")
    flac = path_of(manifest, 12).with_suffix(".flac")
    soundfile.write(flac, samples, RATE)
    soundfile.write(path_of(manifest, 3), np.stack([samples, samples], axis=1), RATE)
    manifest = changed(manifest, lambda n, _: {"audio": str(flac.relative_to(manifest.root))} if n == 12 else {})
    across = found(make_audit(manifest), "duplicates_across_folds")
    names = [manifest.utterances[n].utterance_id for n in (0, 3, 12)]
    assert (across["severity"], across["value"]) == ("error", 3)
    assert across["examples"] == [f"{names[0]} (happy) = {names[1]} (sad) = {names[2]} (happy)"]
    assert "Groups of identical recordings with different labels: 1" in across["meaning"]


def test_the_same_samples_within_a_fold_are_a_warning(tiny_corpus):
    manifest = tiny_corpus()
    path_of(manifest, 4).write_bytes(path_of(manifest, 0).read_bytes())
    audit = make_audit(manifest)
    assert found(audit, "duplicates_within_folds")["value"] == 2
    assert found(audit, "duplicates_within_folds")["severity"] == "warning"
    assert found(audit, "duplicates_across_folds")["severity"] == "ok"


def test_silence_clipping_offset_and_format_are_counted(tiny_corpus):
    manifest = tiny_corpus()
    for number in (0, 1):  # silent, and yet no duplicates
        write(path_of(manifest, number), np.zeros(RATE))
    for number in (2, 3, 5):
        write(path_of(manifest, number), np.clip(sine(90 + number, 2.0), -1, 1))
    for number in (6, 7, 8, 9):
        write(path_of(manifest, number), sine(90 + number, 0.1) + 0.05)
    write(path_of(manifest, 10), np.stack([sine(100), sine(101)], axis=1), rate=44_100)
    audit = make_audit(manifest)
    counts = {
        key: found(audit, key)["value"]
        for key in ("silent_recordings", "clipped_recordings", "dc_offset", "audio_formats")
    }
    assert counts == {"silent_recordings": 2, "clipped_recordings": 3, "dc_offset": 4, "audio_formats": 1}
    assert found(audit, "duplicates_within_folds")["value"] == 0
    assert found(audit, "silent_recordings")["examples"][0].endswith("(happy): −120.0 dBFS")
    assert found(audit, "audio_formats")["examples"][0].endswith("44.1 kHz, 2 channels")


def test_clipping_associated_with_a_class_is_a_warning(tiny_corpus):
    manifest = tiny_corpus(sessions=2, repeats=3)
    for number, row in enumerate(manifest.utterances):
        if row.emotion == "ang":
            write(path_of(manifest, number), np.clip(sine(90 + number, 2.0), -1, 1))
    finding = found(make_audit(manifest), "clipped_recordings")
    assert finding["severity"] == "warning"
    assert "12 of 12 are angry, compared with 25.0 % of all" in finding["meaning"]


def test_a_duration_that_does_not_fit_the_transcript_is_a_finding(tiny_corpus):
    manifest = changed(tiny_corpus(repeats=3), lambda n, _: {"transcript": "No." if n == 5 else "word " * 6 + str(n)})
    for number in range(len(manifest.utterances)):
        write(path_of(manifest, number), sine(100 + number, seconds=40 if number == 5 else 2 + 0.1 * (number % 5)))
    finding = found(make_audit(manifest), "unusual_durations")
    assert finding["value"] == 1
    assert finding["examples"][0].startswith(f"{manifest.utterances[5].utterance_id} (angry): 0.1 letters per second")


def test_recordings_too_short_for_ctc_are_counted(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda n, _: {"transcript": "long " * 100 if n == 1 else "go"})
    assert found(make_audit(manifest), "too_short_for_ctc")["value"] == 1


def test_loudness_that_reveals_the_class_is_a_warning_and_so_is_its_baseline(tiny_corpus):
    manifest = tiny_corpus(sessions=3, repeats=2)
    height = {"hap": 0.8, "ang": 0.2, "neu": 0.05, "sad": 0.0125}
    for number, row in enumerate(manifest.utterances):
        write(path_of(manifest, number), sine(100 + number, height[row.emotion]))
    audit = make_audit(manifest)
    loudness, baseline = found(audit, "loudness"), found(audit, "baseline_loudness")
    assert (loudness["severity"], loudness["unit"]) == ("warning", "dB from sad to happy")
    assert loudness["value"] == pytest.approx(20 * np.log10(0.8 / 0.0125), abs=0.1)
    assert (baseline["severity"], baseline["value"]) == ("warning", 100.0)
    assert found(audit, "baseline_length_of_the_recording")["severity"] == "ok"
    medians = [row["loudness_dbfs"]["quantiles"][2] for row in audit["recordings"]["classes"]]
    assert medians == pytest.approx([20 * np.log10(h) - 3.0103 for h in height.values()], abs=0.1)


def test_random_loudness_explains_nothing_in_a_small_corpus(tiny_corpus):
    manifest = tiny_corpus(repeats=2)
    loudness = np.random.default_rng(0).uniform(0.1, 0.9, len(manifest.utterances))
    for number, height in enumerate(loudness):
        write(path_of(manifest, number), sine(100 + number, height))
    finding = found(make_audit(manifest), "loudness")
    assert (finding["severity"], finding["meaning"]) == (
        "ok",
        "The class explains 0 % of the variance of the loudness.",
    )


def test_without_transcripts_durations_are_not_compared(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda *_: {"transcript": ""})
    finding = found(make_audit(manifest), "unusual_durations")
    assert (finding["severity"], finding["value"]) == ("ok", 0)
    assert "there is nothing to compare" in finding["meaning"]


def test_segments_of_a_file_count_as_separate_recordings(tiny_corpus):
    manifest = tiny_corpus()
    write(path_of(manifest, 0), np.concatenate([sine(100), sine(300), sine(300)]))
    rows = list(
        changed(
            manifest,
            lambda n, _: (
                {"audio": manifest.utterances[0].audio, "start_seconds": float(n), "end_seconds": n + 1.0}
                if n < 3
                else {}
            ),
        ).utterances
    )
    audit = make_audit(rewritten(manifest, rows))
    assert found(audit, "repeated_rows")["value"] == 0
    assert found(audit, "duplicates_within_folds")["value"] == 2


def test_the_digest_of_the_samples_does_not_depend_on_the_container(tiny_corpus):
    manifest = tiny_corpus()
    before = audio_digest(manifest, measure_all(manifest))
    samples, _ = soundfile.read(path_of(manifest, 0), dtype="int16")
    soundfile.write(path_of(manifest, 0), samples, RATE, format="FLAC")
    assert audio_digest(manifest, measure_all(manifest)) == before
    samples[0] += 1
    soundfile.write(path_of(manifest, 0), samples, RATE)
    assert audio_digest(manifest, measure_all(manifest)) != before


def test_facts_come_in_the_manifests_order(tiny_corpus):
    manifest = tiny_corpus()
    lengths = [soundfile.info(path_of(manifest, n)).duration for n in range(16)]
    facts = measure_all(manifest)
    assert all(isinstance(fact, Recording) for fact in facts)
    assert [fact.seconds for fact in facts] == pytest.approx(lengths)


def test_a_corpus_with_a_single_class_or_without_recordings_is_audited_too(tiny_corpus):
    manifest = changed(tiny_corpus(), lambda *_: {"emotion": "hap"})
    audit = make_audit(manifest)
    assert [row["name"] for row in audit["baselines"]["rows"]] == ["majority class"]
    assert found(audit, "missing_classes")["value"] == 6
    for number in range(16):
        path_of(manifest, number).unlink()
    audit = make_audit(manifest)
    assert found(audit, "unreadable_recordings")["value"] == 16
    assert (audit["recordings"]["hours"], audit["recordings"]["formats"]) == (0.0, [])
    assert "They were not checked" not in html(audit)
