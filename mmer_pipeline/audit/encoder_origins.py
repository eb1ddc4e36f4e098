"""Encoders that were trained on emotion or on the audited corpus, as far as their names, configurations and cards say.

A speech or text encoder whose pretraining or fine-tuning included test recordings knows their labels or voices. Nothing
is downloaded: only a directory or the hub's cache is read.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmer_pipeline.audit.finding import NAMED, Finding, Severity
from mmer_pipeline.corpora.readers import FORMS
from mmer_pipeline.encoders.embedded import is_embedded
from mmer_pipeline.encoders.encoder_files import CARD, CONFIG, local_directory

Corpora = Mapping[str, re.Pattern[str]]

CORPORA: Corpora = {  # name of a corpus → how it is written
    "iemocap": re.compile(r"iemocap", re.IGNORECASE),
    "ravdess": re.compile(r"ravdess", re.IGNORECASE),
    "crema-d": re.compile(r"crema[-_ ]?d\b", re.IGNORECASE),
    "emo-db": re.compile(r"\bemo[-_ ]?db\b", re.IGNORECASE),
    "meld": re.compile(r"\bmeld\b", re.IGNORECASE),
    "esd": re.compile(r"\bESD\b|\bemotional speech d", re.IGNORECASE),
    "msp-podcast": re.compile(r"\bmsp[-_ ]?(?:podcast|improv|dim)", re.IGNORECASE),
    "cmu-mosei": re.compile(r"\bmosei\b", re.IGNORECASE),
    "tess": re.compile(r"\btess\b", re.IGNORECASE),
    "savee": re.compile(r"\bsavee\b", re.IGNORECASE),
    "goemotions": re.compile(r"\bgo[-_ ]?emotions?\b", re.IGNORECASE),
}
# Names of models that do not say what their publications say: the corpora they were trained on.
PUBLISHED = {
    re.compile(r"emotion2vec", re.IGNORECASE): ("iemocap", "meld", "cmu-mosei"),  # Ma et al. 2024, pretraining data
    re.compile(r"superb-er\b", re.IGNORECASE): ("iemocap",),  # SUPERB's emotion recognition, Yang et al. 2021
}
_EMOTION_NAME = re.compile(r"emotion|affect|\bser\b|(?:^|[-_/])er$", re.IGNORECASE)
_CLASSES = frozenset(
    [
        *("ang", "anger", "angry", "calm", "contempt", "dis", "disgust", "disgusted", "exc", "excited", "fea", "fear"),
        *("fearful", "fru", "frustrated", "hap", "happiness", "happy", "joy", "love", "neu", "neutral", "sad"),
        *("sadness", "sur", "surprise", "surprised"),
    ]
)


@dataclass(frozen=True)
class Origin:
    """The facts known about the training of one encoder."""

    kind: str  # "text encoder", "speech encoder"
    name: str  # as in the settings
    described: bool  # a configuration or card was found
    signs: tuple[str, ...]  # that it was trained on emotion or on a corpus of emotional speech
    on_this_corpus: bool  # a sign names the audited corpus
    mentioned: bool  # its card mentions the audited corpus, for whatever reason


def read_origins(corpus: str, encoders: Mapping[str, str]) -> tuple[Origin, ...]:
    """Examine encoders, given as kind → name; `corpus` is the manifest's."""
    return tuple(_origin(corpus, kind, name) for kind, name in encoders.items())


def _origin(corpus: str, kind: str, name: str) -> Origin:
    known = [pattern for pattern in CORPORA.values() if pattern.search(corpus)]
    this, corpora = known, dict(CORPORA)
    if not known and corpus not in FORMS:  # the form's name is that of a corpus without one
        corpora[corpus] = re.compile(rf"\b{re.escape(corpus)}\b", re.IGNORECASE)
        this = [corpora[corpus]]
    directory = _directory(name)
    signs, card = list(_signs_of_name(name, corpora)), ""
    if directory is not None:
        card = _text(directory / CARD)
        signs += [*_signs_of_config(directory / CONFIG, corpora), *_signs_of_metadata(directory / CARD, corpora)]
    named = any(pattern.search(sign) for pattern in this for sign in signs)
    mentioned = any(pattern.search(card) for pattern in known)  # another name may be an ordinary word
    if mentioned and not named:
        signs.append(f"its card mentions {corpus}")
    # A card may mention a corpus for an evaluation. Together with another sign it is more than that.
    return Origin(kind, name, directory is not None, tuple(signs), named or (mentioned and len(signs) > 1), mentioned)


def _directory(name: str) -> Path | None:
    """The directory of an encoder's configuration, without network; None if it is not on this machine."""
    if is_embedded(name):
        return None
    if directory := local_directory(name):
        return directory
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    try:
        found = huggingface_hub.try_to_load_from_cache(name, CONFIG)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _signs_of_name(name: str, corpora: Corpora) -> Iterator[str]:
    if local_directory(name):
        name = Path(name).name
    if _EMOTION_NAME.search(name):
        yield "its name mentions emotion"
    if contained := _contained(name, corpora):
        yield f"its name contains {contained}"
    for pattern, trained in PUBLISHED.items():
        if pattern.search(name):
            yield f"it is known to be trained on {', '.join(trained)}"


def _signs_of_config(path: Path, corpora: Corpora) -> Iterator[str]:
    try:
        config = json.loads(_text(path) or "{}")
    except ValueError:
        return  # loading the encoder reports it
    labels = config.get("id2label") if isinstance(config, dict) else None
    if isinstance(labels, dict):
        classes = [str(label) for label in labels.values()]
        if len({label.casefold() for label in classes} & _CLASSES) > 1:
            yield f"its configuration has the classes {', '.join(classes[:8])}"
    base = config.get("_name_or_path") if isinstance(config, dict) else None
    if isinstance(base, str) and base:
        yield from (sign.replace("its name", "the name of its base model") for sign in _signs_of_name(base, corpora))


def _signs_of_metadata(path: Path, corpora: Corpora) -> Iterator[str]:
    """Signs in the YAML block of a card: data sets and tags."""
    import yaml
    from huggingface_hub import metadata_load

    if not path.is_file():
        return
    try:
        metadata = metadata_load(path) or {}
    except (ValueError, yaml.YAMLError):  # a block that is no mapping, or no YAML
        return
    values = {name: _listed(metadata.get(name)) for name in ("datasets", "tags", "base_model", "model-index")}
    for name, text in values.items():
        if contained := _contained(text, corpora if name in ("datasets", "model-index") else CORPORA):
            yield f"its card has {contained} under {name}"
        elif name != "model-index" and _EMOTION_NAME.search(text):
            yield f"its card mentions emotion under {name}"


def _contained(text: str, corpora: Corpora) -> str:
    return ", ".join(sorted(corpus for corpus, pattern in corpora.items() if pattern.search(text)))


def _listed(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def as_dicts(origins: tuple[Origin, ...]) -> list[dict[str, Any]]:
    """Plain values for JSON."""
    return [asdict(origin) for origin in origins]


def findings(corpus: str, origins: tuple[Origin, ...]) -> list[Finding]:
    """Whether an encoder was trained on emotion, or on this corpus."""
    signed = [origin for origin in origins if origin.signs]
    known = [origin for origin in origins if origin.on_this_corpus]
    unseen = [one.name for one in origins if not one.described and not one.signs and not is_embedded(one.name)]
    severity: Severity = "error" if known else "warning" if signed else "ok"
    if known:
        names = " and ".join(origin.name for origin in known)
        meaning = (
            f"Signs are that {names} {'was' if len(known) == 1 else 'were'} trained on {corpus}. Such an encoder "
            "has heard the test recordings of every fold."
        )
    elif signed:
        meaning = "A result may owe something to the labels and recordings that such an encoder was trained on."
    else:
        meaning = "Nothing says that they were."
    if signed:
        meaning += (
            " How much cannot be told from its files: train the same system with the model that it was made from, on "
            "the same folds, or name its training data with every result."
        )
    if unseen:
        meaning += f" Of {' and '.join(unseen)} only the name was checked: not in the hub's cache."
    return [
        Finding(
            "encoder_origins",
            severity,
            "Encoders that were trained on emotion or on this corpus",
            len(signed),
            "encoders",
            meaning,
            len(origins),
            tuple(f"{one.kind} {one.name}: {sign}" for one in signed for sign in one.signs)[:NAMED],
        )
    ]
