"""The reader of corpora in the form of a manifest, and the choice of a reader."""

import shutil
import unicodedata
from pathlib import Path

import pytest
from helpers.command_line import succeed

from mmer_pipeline.corpora.manifest import Manifest, read_manifest
from mmer_pipeline.corpora.readers import CORPORA, FORMS, read_corpus
from mmer_pipeline.corpora.utterances import COLUMNS, Utterance
from mmer_pipeline.errors import UserError

HEADER = ",".join(COLUMNS)


def test_a_folder_with_a_manifest_or_the_file_itself_gives_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(f'{HEADER}\na,wav/a.wav,0.5,1.25,Ann,1,d1,glad,"Well, well."\nb,wav/b.wav,,,Bob,2,,mad,No.\n')
    folder, file = read_corpus("csv", tmp_path), read_corpus("csv", path)
    assert folder == file
    assert (folder.root, folder.source, folder.label_map) == (tmp_path, path, "identity")
    assert folder.utterances == (
        Utterance("a", "wav/a.wav", 0.5, 1.25, "Ann", "1", "d1", "glad", "Well, well."),
        Utterance("b", "wav/b.wav", None, None, "Bob", "2", "b", "mad", "No."),
    )


def test_the_root_may_be_a_table_of_another_name_or_a_folder_with_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no manifest\.csv in .*There is no other table"):
        read_corpus("csv", tmp_path)
    path = tmp_path / "corpus.csv"
    path.write_text(f"{HEADER}\na,a.wav,,,Ann,1,d1,glad,Yes.\n")
    assert len(read_corpus("csv", path).utterances) == 1
    (tmp_path / "~$corpus.xlsx").touch()  # of a spreadsheet that is open
    assert read_corpus("csv", tmp_path) == read_corpus("csv", path)
    (tmp_path / "other.xlsx").touch()
    with pytest.raises(UserError, match=r"There is no manifest\.csv in .*tables there: corpus\.csv, other\.xlsx\."):
        read_corpus("csv", tmp_path)


def test_a_path_that_leaves_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(f"{HEADER}\na,../a.wav,,,Ann,1,d1,glad,Yes.\n")
    with pytest.raises(UserError, match=r"row 2, column audio: audio path '\.\./a\.wav' leaves the audio root"):
        read_corpus("csv", tmp_path)


def test_the_error_about_an_unknown_reader_lists_the_readers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"iemocap, ravdess, crema-d, emo-db, meld, .*, csv, folders, "):
        read_corpus("msp-improv", tmp_path)
    assert list(CORPORA) == ["iemocap", "ravdess", "crema-d", "emo-db", "meld", "esd", "esd-en", "esd-zh"]
    assert list(FORMS) == ["csv", "folders", "huggingface", "kaldi", "lhotse", "audformat"]


def test_a_recording_is_found_under_another_unicode_form_of_its_name(tmp_path: Path) -> None:
    composed, apart = unicodedata.normalize("NFC", "łódź/şarkı é.wav"), unicodedata.normalize("NFD", "łódź/şarkı é.wav")
    path = tmp_path / "manifest.csv"
    path.write_text(f"{HEADER}\na,{composed},,,Ann,1,d1,glad,Yes.\nb,{apart},,,Bob,2,d2,sad,No.\n")
    assert [u.audio for u in read_corpus("csv", path).utterances] == [composed, apart]  # neither is there
    (tmp_path / apart).parent.mkdir()
    (tmp_path / apart).touch()
    assert [u.audio for u in read_corpus("csv", path).utterances] == [apart, apart]


def test_a_corpus_can_have_a_name(manifest: Manifest) -> None:
    shutil.copy(manifest.path, "corpus/manifest.csv")
    result = succeed("prepare", "csv", "--root", "corpus", "--name", "our calls", "--manifest", "named.csv")
    assert "our calls, label map identity" in result.stdout
    assert read_manifest(Path("named.csv")).corpus == "our calls"
