"""Where an encoder's files lie and exactly which weights they hold, without loading a model."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmer_pipeline.digests import SHORT, sha256_of_file
from mmer_pipeline.errors import UserError

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"  # where transformers 5 puts the same, under "feature_extractor"
_SMALL_FILES = ["*.json", "*.txt", "*.model"]
_SAFETENSORS = ["*.safetensors", "*.safetensors.index.json"]
_TORCH_WEIGHTS = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]


@dataclass(frozen=True)
class EncoderFiles:
    """A resolved encoder."""

    name: str  # as the user gave it: a hub id or a local directory
    revision: str | None  # the hub's commit; None for a local directory
    directory: Path  # where config and weights lie
    weight_files: tuple[Path, ...]  # sorted

    @property
    def normalises(self) -> bool:
        """Whether waveforms are brought to zero mean and unit variance before the front end (`do_normalize`).

        Where no preprocessor says it: as the wav2vec2 family's default does, and Moonshine's does not.

        Raises:
            UserError: a file that should say it is no JSON object.
        """
        for name in (PREPROCESSOR, PROCESSOR):
            facts = self._json(name)
            facts = facts.get("feature_extractor", facts)
            if "do_normalize" in facts:
                return bool(facts["do_normalize"])
        return self._json(CONFIG).get("model_type") != "moonshine"

    def _json(self, name: str) -> dict[str, Any]:
        path = self.directory / name
        if not path.is_file():
            return {}
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{self.name}: {path} is not a JSON object ({error}). Download it again.") from None
        if not isinstance(value, dict):
            raise UserError(f"{self.name}: {path} is not a JSON object. Download it again.")
        return value

    def digest(self) -> str:
        """16 hex digits of everything that a feature depends on: configuration, tokenizer and weights."""
        digest = hashlib.sha256()
        small = [path for path in sorted(self.directory.iterdir()) if path.suffix in (".json", ".txt", ".model")]
        for path in (*small, *self.weight_files):
            stat = path.stat()
            digest.update(path.name.encode() + b"\0")
            digest.update(_sha256_while_unchanged(path, stat.st_size, stat.st_mtime_ns))
        return digest.hexdigest()[:SHORT]


@lru_cache(maxsize=1024)
def _sha256_while_unchanged(path: Path, _size: int, _mtime_ns: int) -> bytes:
    """SHA-256 of a file's bytes, read again by this process when size or time of change differ."""
    return sha256_of_file(path)


def resolve_encoder(name: str, revision: str | None = None) -> EncoderFiles:
    """Find an encoder: a local directory of that name, or else the hub's (its cache first when offline).

    Raises:
        UserError: no such directory and no such hub id, no network, or a directory without weights.
    """
    directory = Path(name).expanduser()
    if directory.is_dir():
        if revision is not None:
            raise UserError(f"{name} is a local directory: --revision applies to hub ids alone. Leave it out.")
        return _from_directory(name, None, directory)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(
            f"No encoder at {directory.absolute()}: there is no such directory. "
            "Expected a directory with config.json and weights, or a hub id such as roberta-base."
        )
    return _from_hub(name, revision)


def _from_directory(name: str, revision: str | None, directory: Path) -> EncoderFiles:
    if not (directory / CONFIG).is_file():
        raise UserError(f"{name}: {directory.absolute()} has no {CONFIG}. Expected a transformers checkpoint.")
    weights = sorted(directory.glob("*.safetensors")) or sorted(directory.glob("pytorch_model*.bin"))
    if not weights:
        raise UserError(
            f"{name}: {directory.absolute()} has a {CONFIG} but no weights. "
            "Expected model.safetensors (or pytorch_model.bin) beside it."
        )
    return EncoderFiles(name, revision, directory.absolute(), tuple(weights))


def _from_hub(name: str, revision: str | None) -> EncoderFiles:
    import huggingface_hub
    from huggingface_hub import constants, errors

    def download(patterns: list[str]) -> Path:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns))

    at = f"{name}{f' at revision {revision}' if revision else ''}"
    try:
        directory = download([*_SMALL_FILES, *_SAFETENSORS])
        if not any(directory.glob("*.safetensors")):
            directory = download([*_SMALL_FILES, *_TORCH_WEIGHTS])
    except errors.RevisionNotFoundError:
        raise UserError(f"The hub has {name}, but not its revision {revision!r}.") from None
    except errors.GatedRepoError:
        raise UserError(f"{name} is gated: accept its terms on the hub, then `hf auth login`.") from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise UserError(
            f"No encoder {at}: there is no directory of that name below {Path.cwd()}, and the hub "
            f"({constants.ENDPOINT}) has no such model (or it is private: `hf auth login`)."
        ) from None
    except (errors.HfHubHTTPError, OSError) as error:
        # LocalEntryNotFoundError (not cached, no network) is a FileNotFoundError.
        raise UserError(
            f"No encoder {at}: there is no directory of that name below {Path.cwd()}, it is not in the hub's "
            f"cache ({constants.HF_HUB_CACHE}), and the hub ({constants.ENDPOINT}) cannot be reached "
            f"({type(error).__name__}). Download it where there is a network, or give a local directory."
        ) from None
    return _from_directory(name, directory.name, directory)
