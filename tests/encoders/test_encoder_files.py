"""Where an encoder's files are looked for, what is said when they are not there, and their digest."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import huggingface_hub
import pytest
from huggingface_hub import errors

from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.errors import UserError

Change = Callable[[Path], object]


def refusal(name: str, revision: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        resolve_encoder(name, revision)
    return str(caught.value)


@pytest.fixture
def directory(tiny_text: Path, tmp_path: Path) -> Path:
    """A copy of the tiny text encoder, free to be changed."""
    return Path(shutil.copytree(tiny_text, tmp_path / "encoder"))


def test_a_directory_is_its_own_encoder(directory: Path) -> None:
    files = resolve_encoder(str(directory))
    assert (files.name, files.revision, files.directory) == (str(directory), None, directory)
    assert files.weight_files == (directory / "model.safetensors",)


def test_a_relative_directory_and_one_below_the_home_directory_are_found(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(directory.parent))
    assert resolve_encoder("encoder").digest() == resolve_encoder("~/encoder").digest()


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "a/b/c"])
def test_a_directory_that_is_not_there_is_said_with_its_whole_path(name: str) -> None:
    message = refusal(name)
    assert f"No encoder at {Path(name).expanduser().absolute()}" in message
    assert "no such directory" in message


@pytest.mark.parametrize("name", ["roberta-base", "facebook/wav2vec2-base"])
def test_a_hub_id_without_a_network_says_all_places_that_were_looked_at(name: str, tmp_path: Path) -> None:
    message = refusal(name)
    for word in (f"No encoder {name}", str(tmp_path), "cache (", "https://huggingface.co", "cannot be reached"):
        assert word in message


def test_the_revision_that_was_looked_for_is_said() -> None:
    assert "roberta-base at revision v9" in refusal("roberta-base", "v9")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.RepositoryNotFoundError, ("No encoder some/model", "no such model", "hf auth login")),
        (errors.GatedRepoError, ("some/model is gated", "hf auth login")),
        (errors.RevisionNotFoundError, ("some/model", "revision 'v9'")),
        (errors.HfHubHTTPError, ("No encoder some/model at revision v9", "cannot be reached")),
    ],
)
def test_what_the_hub_answers_is_said(
    error: type[errors.HfHubHTTPError], words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_: object, **__: object) -> str:
        raise error("no", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    message = refusal("some/model", "v9")
    for word in words:
        assert word in message


def test_a_name_that_the_hub_cannot_have_is_refused() -> None:
    assert "No encoder not a name!" in refusal("not a name!")


def test_a_downloaded_encoder_carries_the_hub_s_commit(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        return str(directory)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    files = resolve_encoder("some/model", "main")
    assert (files.name, files.revision, files.directory) == ("some/model", "encoder", directory)
    assert [(name, revision) for name, revision, _ in asked] == [("some/model", "main")]
    assert not any("bin" in pattern for pattern in asked[0][2])  # torch's format only where there is no other


def test_torch_weights_are_asked_for_where_the_hub_has_no_safetensors(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(_name: str, revision: str | None, allow_patterns: list[str]) -> str:
        if "pytorch_model*.bin" in allow_patterns:
            (directory / "pytorch_model.bin").touch()
        return str(directory)

    (directory / "model.safetensors").unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert [path.name for path in resolve_encoder("some/model").weight_files] == ["pytorch_model.bin"]


def test_a_directory_without_a_configuration_is_refused(directory: Path) -> None:
    (directory / "config.json").unlink()
    message = refusal(str(directory))
    assert f"{directory} has no config.json" in message


def test_a_directory_without_weights_is_refused(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    message = refusal(str(directory))
    assert f"{directory} has a config.json but no weights" in message
    assert "model.safetensors" in message


def test_a_revision_of_a_local_directory_is_refused(directory: Path) -> None:
    message = refusal(str(directory), "main")
    assert f"{directory} is a local directory" in message


def test_the_digest_is_of_the_content_and_not_of_the_place(directory: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(directory, tmp_path / "deep" / "elsewhere")
    digest = resolve_encoder(str(directory)).digest()
    assert digest == resolve_encoder(str(elsewhere)).digest()
    assert len(digest) == 16
    assert set(digest) <= set("0123456789abcdef")


def change_a_weight(directory: Path) -> None:
    weights = directory / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def change_the_configuration(directory: Path) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "layer_norm_eps": 1e-6}))


def change_the_tokenizer(directory: Path) -> None:
    path = directory / "tokenizer.json"
    path.write_text(path.read_text() + "\n")


def add_a_preprocessor(directory: Path) -> None:
    (directory / "preprocessor_config.json").write_text('{"do_normalize": false}')


@pytest.mark.parametrize(
    "change", [change_a_weight, change_the_configuration, change_the_tokenizer, add_a_preprocessor]
)
def test_the_digest_changes_with_whatever_changes_a_feature(change: Change, directory: Path) -> None:
    before = resolve_encoder(str(directory)).digest()
    change(directory)
    assert resolve_encoder(str(directory)).digest() != before


def test_the_digest_does_not_change_with_what_no_feature_depends_on(directory: Path) -> None:
    before = resolve_encoder(str(directory)).digest()
    (directory / "README.md").write_text("A model card.")
    (directory / "training_args.bin").write_bytes(b"not weights")
    (directory / "pytorch_model.bin").write_bytes(b"the same weights in another format")
    assert resolve_encoder(str(directory)).digest() == before


def test_weights_are_read_once_by_a_process_until_they_change(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def digest_of(stream: BinaryIO, name: str) -> "hashlib._Hash":
        read.append(Path(stream.name).name)
        return hashlib.new(name, stream.read())

    monkeypatch.setattr(hashlib, "file_digest", digest_of)
    first = resolve_encoder(str(directory)).digest()
    assert resolve_encoder(str(directory)).digest() == first
    assert read.count("model.safetensors") == 1
    os.utime(directory / "model.safetensors", (1, 1))
    assert resolve_encoder(str(directory)).digest() == first
    assert read.count("model.safetensors") == 2


@pytest.mark.parametrize(("text", "normalises"), [(None, True), ("{}", True), ('{"do_normalize": false}', False)])
def test_waveforms_are_normalised_unless_the_preprocessor_says_no(
    text: str | None, normalises: bool, directory: Path
) -> None:
    if text is not None:
        (directory / "preprocessor_config.json").write_text(text)
    assert resolve_encoder(str(directory)).normalises == normalises


def test_a_processor_of_transformers_5_says_it_too_and_moonshine_is_not_normalised(directory: Path) -> None:
    (directory / "processor_config.json").write_text('{"feature_extractor": {"do_normalize": false}}')
    assert not resolve_encoder(str(directory)).normalises
    (directory / "processor_config.json").unlink()
    assert resolve_encoder(str(directory)).normalises
    (directory / "config.json").write_text('{"model_type": "moonshine"}')
    assert not resolve_encoder(str(directory)).normalises
