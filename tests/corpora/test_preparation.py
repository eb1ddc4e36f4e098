"""What becomes of a corpus on its way to a manifest, and the command that does it."""

import json
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers.command_line import fail, invoke, succeed

from mmer_pipeline import audio
from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.manifest import read_manifest, write_manifest
from mmer_pipeline.corpora.preparation import Preparation, choose_label_map, prepare
from mmer_pipeline.corpora.readers import Reading, read_corpus
from mmer_pipeline.corpora.utterances import COLUMNS, Utterance
from mmer_pipeline.errors import UserError

RATE = 16_000
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "ravdess4"
LABELS = BUILT_IN["iemocap-4"]
LABELLED = ("--label-map", "iemocap-4", "--drop-untranscribed")


def utterance(name: str, emotion: str = "hap", **changes: Any) -> Utterance:
    plain = Utterance(name, f"{name}.wav", None, None, "Ann", "1", "d1", emotion, "Yes.")
    return replace(plain, **changes)


def reading(root: Path, *utterances: Utterance, label_map: str = "iemocap-4") -> Reading:
    return Reading(root, root, utterances, label_map)


def record(root: Path, *names: str, seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> None:
    for name in names:
        shape = (round(seconds * rate), channels)
        soundfile.write(root / name, np.full(shape, 0.1, np.float32), rate)


@pytest.fixture
def troubled(tmp_path: Path) -> Reading:
    """Two good utterances, and one or two of every kind that is not."""
    record(tmp_path, "good.wav", "tag.wav", "wordless.wav", "whole.wav", "dropped.wav")
    record(tmp_path, "brief.wav", seconds=0.05)
    record(tmp_path, "long.wav", seconds=61)
    record(tmp_path, "stereo.wav", channels=2)
    record(tmp_path, "fast.wav", rate=44_100)
    record(tmp_path, "talk.flac", seconds=4)
    (tmp_path / "zero.wav").touch()
    (tmp_path / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:9000])
    (tmp_path / "cut.flac").write_bytes((tmp_path / "talk.flac").read_bytes()[:-20])
    return reading(
        tmp_path,
        utterance("good"),
        utterance("gone", "sad"),
        utterance("cut", "ang"),
        utterance("cut-flac", "ang", audio="cut.flac"),
        utterance("zero", "neu"),
        utterance("brief"),
        utterance("long"),
        utterance("wordless", transcript=" \t"),
        utterance("tag", transcript="[LAUGHTER]"),
        utterance("stereo", "sad", session="2", speaker="Bob"),
        utterance("fast", "sad", session="10", speaker="Bob"),
        utterance("first", audio="talk.flac", end_seconds=1.5),
        utterance("second", "ang", audio="talk.flac", start_seconds=1.5, end_seconds=4.004),
        utterance("beyond", audio="talk.flac", start_seconds=3.0, end_seconds=4.5),
        utterance("lost", transcript=""),
        utterance("dropped", "fru"),
        utterance("dropped too", "xxx", audio="nowhere.wav"),
        utterance("dropped again", "xxx", audio="nowhere.wav"),
    )


def test_every_problem_is_listed_by_kind_and_good_utterances_keep_their_order(troubled: Reading) -> None:
    result = prepare(troubled, LABELS, drop_untranscribed=True)
    assert [u.utterance_id for u in result.utterances] == ["good", "tag", "stereo", "fast", "first", "second"]
    assert dict(result.problems) == {
        "missing": ("gone", "lost"),
        "unreadable": ("cut", "cut-flac"),
        "empty": ("zero", "brief"),
        "outside": ("beyond",),
        "too_long": ("long",),
        "no_transcript": ("wordless", "lost"),
        "converted": ("stereo", "fast"),
    }
    assert result.excluded == ("gone", "lost", "cut", "cut-flac", "zero", "brief", "beyond", "long", "wordless")
    assert result.dropped == {"xxx": 2, "fru": 1}


def test_durations_are_those_of_the_segments(troubled: Reading) -> None:
    assert prepare(troubled, LABELS, drop_untranscribed=True).seconds == (1.0, 1.0, 1.0, 1.0, 1.5, 2.5)


def test_counts_are_by_class_session_and_speaker(troubled: Reading) -> None:
    result = prepare(troubled, LABELS, drop_untranscribed=True)
    assert result.class_counts == {"happy": 3, "angry": 1, "neutral": 0, "sad": 2}
    assert list(result.session_counts) == ["1", "2", "10"]
    assert result.session_counts["1"] == {"happy": 3, "angry": 1, "neutral": 0, "sad": 0}
    assert result.speakers == ("Ann", "Bob")
    assert json.loads(json.dumps(result.as_dict()))["hours"] == round(8 / 3600, 4)


def test_sessions_are_counted_in_one_pass_however_many_there_are() -> None:
    passes = []

    class Counted(tuple):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            passes.append(1)
            return super().__iter__()

    utterances = Counted(utterance(f"u{n}", ("hap", "sad")[n % 2], session=f"{n // 2}") for n in range(100))
    counts = Preparation(LABELS, utterances, (1.0,) * 100, {}, {}, {}).session_counts
    assert list(counts) == [str(number) for number in range(50)]
    assert all(entry == {"happy": 1, "angry": 0, "neutral": 0, "sad": 1} for entry in counts.values())
    assert len(passes) == 1


def test_a_reason_names_the_file_and_what_is_wrong_with_it(troubled: Reading) -> None:
    lines = prepare(troubled, LABELS, drop_untranscribed=True).problem_lines()
    assert "2 × no recording:" in lines
    assert "  gone: gone.wav: there is no such file" in lines
    assert any(line.startswith("  cut: cut.wav: the file is truncated (") for line in lines)
    assert "  brief: brief.wav: 0.050 s long, expected at least 0.1 s" in lines
    assert "  long: long.wav: 61.0 s long, expected at most 60 s" in lines


def test_limits_are_settings(troubled: Reading) -> None:
    result = prepare(troubled, LABELS, drop_untranscribed=True, max_audio_seconds=1.0, min_audio_seconds=0.01)
    assert result.problems["too_long"] == ("long", "first", "second")
    assert result.problems["empty"] == ("zero",)


def test_each_recording_is_probed_once_and_only_where_its_label_is_kept(
    troubled: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[str] = []
    real = audio.probe

    def counting(path: Path) -> audio.AudioInfo:
        probed.append(path.name)
        return real(path)

    monkeypatch.setattr(audio, "probe", counting)
    progress: list[tuple[int, int]] = []
    prepare(troubled, LABELS, drop_untranscribed=True, progress=lambda done, total: progress.append((done, total)))
    assert len(probed) == len(set(probed)) == 13
    assert not {"nowhere.wav", "dropped.wav"} & set(probed)
    assert progress == [(done, 13) for done in range(1, 14)]


def test_only_five_of_many_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    record(tmp_path, "good.wav")
    result = prepare(reading(tmp_path, utterance("good"), *(utterance(f"x{i}") for i in range(8))), LABELS)
    assert result.problem_lines()[-1] == "  and 3 more"
    assert len(result.problem_lines()) == 7


def test_two_utterances_with_the_same_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 utterance ids appear more than once: a"):
        prepare(reading(tmp_path, utterance("a"), utterance("b"), utterance("a", "xxx")), LABELS)


def test_an_unknown_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Unknown emotion label 'bored'"):
        prepare(reading(tmp_path, utterance("a", "bored")), LABELS)


def test_the_message_about_an_empty_result_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        prepare(reading(tmp_path, utterance("a"), utterance("b", "fru")), LABELS)
    message = str(caught.value)
    assert message.startswith(f"None of the 2 utterances in {tmp_path} can be used.")
    assert "iemocap-4 drops 1: fru 1." in message
    assert "1 × no recording" in message


def test_the_label_map_is_the_corpus_s_default_unless_another_is_named(tmp_path: Path) -> None:
    corpus = reading(tmp_path, utterance("a", "glad"), utterance("b", "mad"), label_map="identity")
    assert list(choose_label_map(corpus).classes) == ["glad", "mad"]
    assert choose_label_map(corpus, "iemocap-4") == LABELS
    assert choose_label_map(reading(tmp_path, utterance("a", "sad"), utterance("b", "fru")), "identity").classes == {
        "fru": ("fru",),
        "sad": ("sad",),
    }


def test_ten_thousand_wav_headers_are_read(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "one.wav"), "wb") as stream:
        stream.setparams((1, 2, RATE, 0, "NONE", ""))
        stream.writeframes(bytes(2 * RATE))
    for number in range(10_000):
        (tmp_path / f"{number}.wav").hardlink_to(tmp_path / "one.wav")
    corpus = reading(tmp_path, *(utterance(str(number)) for number in range(10_000)))
    result = prepare(corpus, LABELS)
    assert len(result.utterances) == 10_000


# The command.


def write_csv(corpus: Reading) -> Path:
    """The corpus as a CSV of its own in the audio root."""
    path = corpus.root / "corpus.csv"
    label_map = choose_label_map(corpus)
    write_manifest(path, corpus.utterances, root=corpus.root, corpus="csv", label_map=label_map)
    path.with_suffix(".json").unlink()
    return path


def failure(*arguments: object) -> str:
    return fail("prepare", *arguments).partition("Error: ")[2]


def test_the_command_writes_the_manifest_and_prints_the_table_and_the_next_command(
    troubled: Reading, tmp_path: Path
) -> None:
    cache = tmp_path / "the cache"
    arguments = ("csv", "--root", write_csv(troubled), *LABELLED, "--cache-dir", cache)
    result = succeed("prepare", *arguments)
    manifest = read_manifest(cache / "manifest.csv")
    assert manifest.utterances == prepare(troubled, LABELS, drop_untranscribed=True).utterances
    assert (manifest.root, manifest.corpus, manifest.label_map) == (tmp_path, tmp_path.name, LABELS)
    out = result.stdout
    assert "6 utterances, 0.00 hours, 2 speakers" in out
    assert "dropped by the label map: 3 utterances (xxx 2, fru 1)" in out
    assert "2 × recording damaged, truncated or not audio:" in out
    assert f"wrote {cache / 'manifest.csv'} (6 utterances)" in out
    assert result.stderr.endswith(f"Next: mmer-pipe audit --folds 2 --cache-dir '{cache}'\n")
    rows = [line.replace("│", " ").split() for line in out.splitlines() if "│" in line]
    assert rows == [
        ["1", "3", "1", "0", "0", "4"],
        ["2", "0", "0", "0", "1", "1"],
        ["10", "0", "0", "0", "1", "1"],
        ["all", "3", "1", "0", "2", "6"],
    ]
    assert "Checking: 13/13 recordings" in result.stderr


def test_the_same_manifest_again_is_unchanged(troubled: Reading, tmp_path: Path) -> None:
    target = tmp_path / "out" / "mine.csv"
    arguments = ("csv", "--root", write_csv(troubled), *LABELLED, "--manifest", target)
    assert f"wrote {target}" in succeed("prepare", *arguments).stdout
    stamp = target.stat().st_mtime_ns
    again = succeed("prepare", *arguments)
    assert f"unchanged: {target}" in again.stdout
    assert again.stderr.endswith(f"Next: mmer-pipe audit --folds 2 --manifest {target}\n")
    assert target.stat().st_mtime_ns == stamp


def test_json_is_one_object_and_nothing_else_on_standard_output(troubled: Reading, tmp_path: Path) -> None:
    source = write_csv(troubled)
    result = succeed(
        *("prepare", "csv", "--root", source, *LABELLED, "--cache-dir", tmp_path / "c", "--json"),
    )
    value = json.loads(result.stdout)
    assert result.stderr == ""
    assert (value["corpus"], value["changed"], value["utterances"]) == (tmp_path.name, True, 6)
    assert value["manifest"] == str(tmp_path / "c" / "manifest.csv")
    assert value["classes"] == {"happy": 3, "angry": 1, "neutral": 0, "sad": 2}
    assert value["sessions"]["10"]["sad"] == 1
    assert value["problems"]["no_transcript"] == ["wordless", "lost"]
    assert value["dropped_labels"] == {"xxx": 2, "fru": 1}


def test_strict_writes_nothing_if_a_problem_excludes_an_utterance(troubled: Reading, tmp_path: Path) -> None:
    source, cache = write_csv(troubled), tmp_path / "cache"
    message = failure(
        *("csv", "--root", source, *LABELLED, "--cache-dir", cache, "--strict"),
    )
    assert message.startswith("--strict: 9 utterances have problems, so ")
    assert "  gone: gone.wav: there is no such file" in message
    assert not cache.exists()


def test_strict_passes_a_corpus_that_only_has_to_be_converted(tmp_path: Path) -> None:
    record(tmp_path, "a.wav", rate=48_000)
    record(tmp_path, "b.wav", channels=2)
    source = write_csv(reading(tmp_path, utterance("a", "glad"), utterance("b", "mad"), label_map="identity"))
    result = succeed("prepare", "csv", "--root", source, "--cache-dir", tmp_path / "cache", "--strict")
    assert "2 × kept, but" in result.stdout


def test_max_audio_seconds_reaches_the_check(troubled: Reading, tmp_path: Path) -> None:
    common = (
        "csv",
        "--root",
        write_csv(troubled),
        "--label-map",
        "iemocap-4",
        "--cache-dir",
        tmp_path,
        "--json",
    )
    value = json.loads(succeed("prepare", *common, "--max-audio-seconds", "2").stdout)
    assert value["problems"]["too_long"] == ["long", "second"]
    assert invoke("prepare", *common, "--max-audio-seconds", "0").exit_code == 2


def test_the_input_is_never_overwritten(troubled: Reading) -> None:
    source = write_csv(troubled)
    before = source.read_bytes()
    message = failure("csv", "--root", source, *LABELLED, "--manifest", source)
    assert "refusing to overwrite the input" in message
    assert source.read_bytes() == before


def test_notes_of_the_reader_are_printed_and_brackets_are_not_markup(tmp_path: Path) -> None:
    for actor in ("01", "02"):
        folder = tmp_path / f"Actor_{actor}"
        folder.mkdir()
        record(folder, f"03-01-03-01-01-01-{actor}.wav", f"03-01-04-01-01-01-{actor}.wav")
    own = tmp_path / "own.toml"
    own.write_text('[classes]\n"[red]" = ["happy"]\nsad = ["sad"]\n')
    result = succeed("prepare", "ravdess", "--root", tmp_path, "--label-map", own, "--cache-dir", tmp_path / "c")
    assert "note: found 2 of 24 actors" in result.stderr
    assert "[red]" in result.stdout


def test_a_missing_column_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(",".join(COLUMNS[2:4]) + "\n1,2\n")
    assert "missing columns: audio, emotion, speaker" in failure(
        "csv", "--root", tmp_path, "--cache-dir", tmp_path / "c"
    )


def test_an_unknown_corpus_is_a_usage_error(tmp_path: Path) -> None:
    assert invoke("prepare", "no-such-corpus", "--root", tmp_path).exit_code == 2
    assert invoke("prepare", "csv").exit_code == 2


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/ravdess4")
def test_the_real_recordings_are_all_good() -> None:
    corpus = read_corpus("ravdess", REAL)
    result: Preparation = prepare(corpus, choose_label_map(corpus))
    assert result.class_counts == {"happy": 192, "angry": 192, "neutral": 96, "sad": 192}
    assert not result.problems
    assert sum(result.seconds) == pytest.approx(0.691 * 3600, rel=1e-3)
