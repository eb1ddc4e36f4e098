"""Utterances without a transcript: kept by prepare for systems that only hear, or dropped on request."""

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.command_line import fail, succeed

from mmer_pipeline.corpora.manifest import Manifest, read_manifest
from mmer_pipeline.corpora.preparation import Preparation, prepare
from mmer_pipeline.corpora.readers import Reading
from mmer_pipeline.errors import UserError

REASON = "left out, as --drop-untranscribed says"


def reading_of(manifest: Manifest, *untranscribed: str) -> Reading:
    """The corpus with empty transcripts for these utterances, or for all if none is named."""
    utterances = tuple(
        replace(u, transcript=" ") if u.utterance_id in untranscribed or not untranscribed else u
        for u in manifest.utterances
    )
    return Reading(manifest.root, manifest.path, utterances, "iemocap-4")


def prepared(manifest: Manifest, *untranscribed: str, drop: bool = False) -> Preparation:
    return prepare(reading_of(manifest, *untranscribed), manifest.label_map, drop_untranscribed=drop)


def test_on_request_they_are_dropped_counted_and_named(manifest: Manifest) -> None:
    result = prepared(manifest, "1F-1-hap", "2M-1-sad", drop=True)
    assert len(result.utterances) == 14
    assert result.excluded == ("1F-1-hap", "2M-1-sad")
    assert result.problem_lines() == [f"2 × no transcript ({REASON}):", "  1F-1-hap", "  2M-1-sad"]


def test_they_are_kept_counted_and_named(manifest: Manifest) -> None:
    result = prepared(manifest, "1F-1-hap", "2M-1-sad")
    assert [u.utterance_id for u in result.utterances] == [u.utterance_id for u in manifest.utterances]
    assert (len(result.seconds), result.excluded) == (16, ())
    assert dict(result.problems) == {"untranscribed": ("1F-1-hap", "2M-1-sad")}
    assert result.problem_lines()[0].startswith("2 × kept, but without a transcript")


def test_a_bad_recording_is_excluded_in_any_case(manifest: Manifest) -> None:
    manifest.audio_path(manifest.utterances[0]).unlink()
    result = prepared(manifest, "1F-1-hap", "1F-1-ang")
    assert dict(result.problems) == {"missing": ("1F-1-hap",), "untranscribed": ("1F-1-ang",)}


def test_a_corpus_without_any_transcript_is_refused_or_kept_whole(manifest: Manifest) -> None:
    with pytest.raises(UserError, match=r"None of the 16 utterances .* can be used") as caught:
        prepared(manifest, drop=True)
    assert REASON in str(caught.value)
    assert len(prepared(manifest).utterances) == 16


def test_the_command_says_what_it_kept_and_what_comes_next(manifest: Manifest) -> None:
    rows = manifest.path.read_text().splitlines()
    bare = [rows[0], *(row[: row.index(row.split(",")[8])] for row in rows[1:])]
    source = Path("corpus/manifest.csv")
    source.write_text("\n".join(bare) + "\n")
    arguments = ["prepare", "csv", "--root", "corpus", "--label-map", "iemocap-4"]
    assert REASON in fail(*arguments, "--drop-untranscribed")
    result = succeed(*arguments, "--strict")
    assert "no utterance has a transcript: systems that only hear (wav2vec2, cai:alpha=0) need none" in result.stdout
    assert "drop-untranscribed" not in result.stdout  # nothing would be left
    assert result.stderr.endswith("Next: mmer-pipe audit\n")
    assert {u.transcript for u in read_manifest(Path("cache/manifest.csv")).utterances} == {""}
    Path("mmer.toml").write_text("[prepare]\nkeep-untranscribed = true\n")  # of an earlier version, as is the option
    assert "unchanged: cache/manifest.csv" in succeed(*arguments, "--keep-untranscribed").stdout
    source.write_text(source.read_text().replace(",transcript", ""))
    assert "no utterance has a transcript" in succeed(*arguments, "--keep-untranscribed").stdout
