"""Finding an encoder's files and identifying its weights, without loading a model."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmer_pipeline import paths
from mmer_pipeline.digests import SHORT, sha256_of_file
from mmer_pipeline.encoders.embedded import embedded_directory, is_embedded
from mmer_pipeline.errors import UserError, first_few

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"  # transformers 5 writes the same values here, under "feature_extractor"
SMALL_SUFFIXES = (".json", ".txt", ".model")  # of configurations and tokenizers
CARD = "README.md"
PARAKEET = ("parakeet_encoder", "parakeet_ctc", "parakeet_rnnt", "parakeet_tdt")  # alone, and with three decoders
# Types whose feature extractors make filter banks of waveforms as recorded; they can be read, but not trained.
FILTER_BANK_TYPES = ("whisper", "wav2vec2-bert", *PARAKEET)
_SMALL_FILES = ["*.json", "*.txt", "*.model", CARD]
_SAFETENSORS = ["*.safetensors", "*.safetensors.index.json"]
_TORCH_WEIGHTS = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]


@dataclass(frozen=True)
class EncoderFiles:
    """A resolved encoder."""

    name: str  # hub id or local directory, as the user gave it
    revision: str | None  # commit on the hub; None for a local directory
    directory: Path  # contains the configuration and the weights
    weight_files: tuple[Path, ...]  # sorted

    @property
    def normalises(self) -> bool:
        """Whether waveforms are normalised to zero mean and unit variance before the front end (`do_normalize`).

        Without a preprocessor configuration, this is the model's default: True for the wav2vec2 family, False for
        Moonshine. It is False for an encoder of filter banks, which reads waveforms as recorded.

        Raises:
            UserError: a configuration file is not a JSON object.
        """
        if self.reads_filter_banks:
            return False
        for name in (PREPROCESSOR, PROCESSOR):
            facts = self.read_json(name)
            facts = facts.get("feature_extractor", facts)
            normalises = facts.get("do_normalize") if isinstance(facts, dict) else facts
            if isinstance(normalises, bool):
                return normalises
            if normalises is not None:
                raise UserError(
                    f"{self.name}: expected do_normalize to be true or false in {self.directory / name}, found "
                    f"{str(normalises)[:50]!r}. Download the file again."
                )
        return self.read_json(CONFIG).get("model_type") != "moonshine"

    @property
    def reads_filter_banks(self) -> bool:
        """Whether it is a speech encoder of filter banks, which can be read, but not trained.

        Raises:
            UserError: the configuration is not a JSON object.
        """
        return self.read_json(CONFIG).get("model_type") in FILTER_BANK_TYPES

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a file of the checkpoint that contains a JSON object; it is empty if there is no such file.

        Raises:
            UserError: it is not a JSON object.
        """
        path = self.directory / name
        if not path.is_file():
            return {}
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number too long, lists too deep
            raise UserError(f"{self.name}: {path} is not valid JSON ({error}). Download it again.") from None
        if not isinstance(value, dict):
            raise UserError(
                f"{self.name}: expected a JSON object in {path}, found a {type(value).__name__}. Download it again."
            )
        return value

    def digest(self) -> str:
        """Digest everything that a feature depends on (configuration, tokenizer, weights): 16 hex digits."""
        digest = hashlib.sha256()
        small = [path for path in _files(self.directory, "*") if path.suffix in SMALL_SUFFIXES]
        for path in (*small, *self.weight_files):
            stat = path.stat()
            digest.update(path.name.encode() + b"\0")
            digest.update(_sha256_while_unchanged(path, stat.st_size, stat.st_mtime_ns))
        return digest.hexdigest()[:SHORT]


@lru_cache(maxsize=1024)
def _sha256_while_unchanged(path: Path, _size: int, _mtime_ns: int) -> bytes:
    """SHA-256 of a file's bytes; this process reads the file again only if its size or modification time changes."""
    return sha256_of_file(path)


def local_directory(name: str) -> Path | None:
    """The directory that an encoder's name is, if there is one; any text may be a name."""
    path = paths.expanded(name)
    return path if paths.is_directory(path) else None


def resolve_encoder(name: str, revision: str | None = None) -> EncoderFiles:
    """Find an encoder: an embedded one, a directory, or a model on the hub (when offline, in its cache).

    Raises:
        UserError: there is no such directory or hub id, no network, or the directory has no weights; an embedded
            model's package is not installed.
    """
    if is_embedded(name):
        if revision is not None:
            raise UserError(f"{name} has no revisions: they exist only on the hub. Leave the revision out.")
        return _from_directory(name, None, embedded_directory(name))
    if (directory := local_directory(name)) is not None:
        if revision is not None:
            raise UserError(f"{name} is a local directory: a revision applies only to hub ids. Leave it out.")
        return _from_directory(name, None, directory)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(
            f"No encoder at {paths.expanded(name).absolute()}: no such directory. "
            "Expected a directory with config.json and weights, or a hub id such as roberta-base."
        )
    return _from_hub(name, revision)


def _from_directory(name: str, revision: str | None, directory: Path) -> EncoderFiles:
    if not (directory / CONFIG).is_file():
        raise UserError(f"{name}: {directory.absolute()} has no {CONFIG}. Expected a transformers checkpoint.")
    weights = _files(directory, "*.safetensors") or _files(directory, "pytorch_model*.bin")
    if not weights:
        raise UserError(
            f"{name}: {directory.absolute()} has a {CONFIG} but no weights. "
            "Expected model.safetensors (or pytorch_model.bin) in the same directory."
        )
    found = EncoderFiles(name, revision, directory.absolute(), tuple(weights))
    for index in _files(directory, f"*{weights[0].suffix}.index.json"):
        parts = found.read_json(index.name).get("weight_map")
        expected = set(map(str, parts.values())) if isinstance(parts, dict) else {"a weight_map in it"}
        missing = sorted(expected - {path.name for path in weights})
        if missing:  # also a path that leads out of the directory, whose weights the digest would not cover
            raise UserError(
                f"{name}: {index.absolute()} names weights that are not in the directory. Expected "
                f"{first_few(missing)[:200]}, found {first_few([path.name for path in weights])}. Download it again."
            )
    return found


def _files(directory: Path, pattern: str) -> list[Path]:
    return sorted(path for path in directory.glob(pattern) if path.is_file())


def _from_hub(name: str, revision: str | None) -> EncoderFiles:
    directory = download(name, revision, [*_SMALL_FILES, *_SAFETENSORS], "encoder")
    if not any(directory.glob("*.safetensors")):
        directory = download(name, revision, [*_SMALL_FILES, *_TORCH_WEIGHTS], "encoder")
    return _from_directory(name, directory.name, directory)


def download(name: str, revision: str | None, patterns: list[str], kind: str) -> Path:
    """Download a hub repository's files that match the patterns, unless they are in its cache; return their directory.

    The directory's name is the commit. `kind` is what messages call the repository: "encoder".

    Raises:
        UserError: there is no such repository or revision, or no network.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors

    at = f"{name}{f' at revision {revision}' if revision else ''}"
    embedded = " Without a network, use the embedded models: --preset small." if kind == "encoder" else ""
    here = f"there is no directory of that name in {Path.cwd()}"
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns))
    except errors.RevisionNotFoundError:
        raise UserError(
            f"{name} is on the hub, but has no revision {revision!r}. Expected one of its commits, tags or branches."
        ) from None
    except errors.GatedRepoError:
        raise UserError(f"{name} is gated: accept its terms on the hub, then run `hf auth login`.") from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise UserError(
            f"No {kind} {at}: {here}, and the hub ({constants.ENDPOINT}) has no such model. Check the name; if the "
            "model is private, run `hf auth login`."
        ) from None
    except (errors.HfHubHTTPError, OSError) as error:
        # LocalEntryNotFoundError (not cached, no network) is a FileNotFoundError.
        raise UserError(
            f"No {kind} {at}: {here}, the model is not in the hub's cache ({constants.HF_HUB_CACHE}), and the hub "
            f"({constants.ENDPOINT}) cannot be reached ({type(error).__name__}). Download it on a machine with network "
            f"access, or give a local directory.{embedded}"
        ) from None
