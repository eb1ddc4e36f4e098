"""Writing files completely or not at all, and the errors about a full disk or a broken file."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mmer_pipeline import files
from mmer_pipeline.errors import UserError


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def write_half(path: Path) -> None:
    path.write_text("half of the n")
    raise ZeroDivisionError


def test_a_replaced_file_is_complete_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    files.write_text(path, "first")
    files.write_text(path, "zweite Zeile: ü")
    assert path.read_bytes() == "zweite Zeile: ü".encode()
    assert names(path.parent) == ["a.txt"]


def test_an_error_meanwhile_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        write_half(temporary)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_replaced_directory_is_complete_and_leaves_no_temporary_directory(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for content in ("one", "two"):
        with files.replacing_directory(path) as temporary:
            (temporary / content).touch()
    assert names(path) == ["two"]
    assert names(tmp_path) == ["model"]


def test_an_error_meanwhile_keeps_the_old_directory_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with files.replacing_directory(path) as temporary:
        (temporary / "old").touch()
    with pytest.raises(ZeroDivisionError), files.replacing_directory(path) as temporary:
        write_half(temporary / "new")
    assert names(path) == ["old"]
    assert names(tmp_path) == ["model"]


def test_other_users_can_read_what_is_written(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "a")
    with files.replacing_directory(tmp_path / "d"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError(errno.EFBIG, os.strerror(errno.EFBIG)),
        OSError(f"Can't write data (file write failed: errno = {errno.ENOSPC}, error message = 'No space left')"),
        RuntimeError(f"Can't decrement id ref count (file write failed: errno = {errno.EDQUOT}, error message = 'x')"),
    ],
)
def test_the_error_about_a_full_disk_names_the_file_and_a_remedy(error: Exception, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    for replacing in (files.replacing, files.replacing_directory):
        with pytest.raises(UserError) as caught, replacing(path):
            raise error
        for words in ("disk is full", str(path), "run the same command again"):
            assert words in str(caught.value)
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "no"), OSError("errno = 280, error"), RuntimeError("something else")]
)
def test_another_error_passes_unchanged(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught, files.replacing(tmp_path / "a.txt"):
        raise error
    assert caught.value is error


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    value = {"ü": [1, 2.5, None, True], "a": "line\u2028separator"}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json", "mmer-pipe prepare") == value
    assert list(json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))) == ["ü", "a"]  # in this order


def test_values_that_json_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", float("nan"))
    assert names(tmp_path) == []


def test_the_error_about_a_missing_json_file_names_the_command_that_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(UserError, match="is missing") as caught:
        files.read_json(path, "mmer-pipe train")
    assert str(path) in str(caught.value)
    assert "mmer-pipe train" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe\x00", "[1, ü]".encode()])
def test_the_error_about_a_broken_json_file_names_the_command_that_writes_it(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not readable JSON") as caught:
        files.read_json(path, "mmer-pipe train")
    assert "mmer-pipe train" in str(caught.value)


def test_json_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    values = [{"epoch": 1, "loss": 0.1}, {"text": "a\u2028b\x85c\nd"}, []]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(files.json_line(value) for value in values), encoding="utf-8")
    assert files.read_json_lines(path) == values


@pytest.mark.parametrize("content", [b'{"a": 1}\n{"b": ', b'{"a": 1}\n"\xff"\n'])
def test_the_error_about_a_broken_line_has_its_number(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match="line 2: not readable JSON"):
        files.read_json_lines(path)


def test_a_killed_process_s_temporary_file_is_used_again(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.tmp").write_text("the longer half of what a killed process wrote")
    files.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_two_processes_that_write_one_file_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with files.replacing(path) as first, files.replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # its block ended last
    assert names(tmp_path) == ["a.txt"]


def test_a_directory_that_was_moved_away_when_a_process_was_killed_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with files.replacing_directory(path) as temporary:
        (temporary / "old").touch()
    path.replace(tmp_path / ".model.old.tmp")
    with pytest.raises(ZeroDivisionError), files.replacing_directory(path) as temporary:
        write_half(temporary / "new")
    assert names(path) == ["old"]
    assert names(tmp_path) == ["model"]


def test_other_users_can_read_weights(tmp_path: Path) -> None:
    """Safetensors replaces the file that it is given by another one, which only the owner can read."""
    with files.replacing(tmp_path / "a.safetensors") as temporary:
        save_file({"a": np.zeros(3)}, temporary)
    with files.replacing_directory(tmp_path / "model") as temporary:
        save_file({"a": np.zeros(3)}, temporary / "model.safetensors")
    for path in (tmp_path / "a.safetensors", tmp_path / "model" / "model.safetensors"):
        assert path.stat().st_mode & 0o777 == 0o644


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, str]] = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        sync(descriptor)

    def replaced(self: Path, target: Path) -> Path:
        done.append(("rename", target.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    files.write_text(tmp_path / "a.txt", "a")
    assert done == [("sync", ".a.txt.tmp"), ("rename", "a.txt"), ("sync", tmp_path.name)]
    done.clear()
    with files.replacing_directory(tmp_path / "b" / "model") as temporary:
        (temporary / "weights").touch()
    synchronised = [("sync", name) for name in (tmp_path.name, "weights", ".model.tmp")]
    assert done == [*synchronised, ("rename", "model"), ("sync", "b")]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.FileLock, "acquire", refuse)
    with pytest.raises(UserError, match="file system without file locks"), files.locked(tmp_path / ".a.lock"):
        pass


@pytest.mark.parametrize(("number", "says"), [(errno.EIO, "drive failed"), (errno.EROFS, "read-only")])
def test_a_failing_or_read_only_disk_is_explained(number: int, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    hdf5 = RuntimeError(f"Can't decrement id ref count (file write failed: errno = {number}, error message = 'x')")
    for error in (OSError(number, os.strerror(number)), hdf5):
        with pytest.raises(UserError, match=says) as caught, files.replacing(path):
            raise error
        assert str(path) in str(caught.value)
        assert "the same command again" in str(caught.value)
    assert path.read_text() == "old"
