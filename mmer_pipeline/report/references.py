r"""References: what a report cites, as \cite keys and as a bibliography (`references.bib`).

Text cites as Pandoc does, `[@key; @other]`; Markdown keeps this, LaTeX gets \cite.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files as package_files

from mmer_pipeline.report.latex_text import latex_prose
from mmer_pipeline.report.report_content import System

SOFTWARE, MMER = "mmerpipeline", "mmer2022"
CORPORA = ("iemocap", "ravdess", "crema-d", "emo-db", "meld", "esd")  # their names are their keys
OF_TABLE_1 = {  # the number in the list of the MMER paper → key
    28: "cai2021", 30: "morais2022", 31: "wu2019", 32: "sajjad2020", 33: "lu2020", 34: "liu2020", 35: "wang2020",
    36: "pappagari2020", 37: "peng2020", 38: "chen2021", 39: "padi2022", 40: "makiuchi2021",
}  # fmt: skip
OF_SYSTEMS = {
    "mmer": MMER,
    "cai": "cai2021",
    "ca-mser": "zou2022",
    "chen": "chen2021",
    "lu": "lu2020",
    "memocmt": "memocmt2025",
    "misa": "misa2020",
    "makiuchi-speech": "makiuchi2021",
    "makiuchi-text": "makiuchi2021",
    "morais": "morais2022",
    "mult": "tsai2019",
    "padi": "padi2022",
    "pappagari": "pappagari2020",
    "wang": "wang2020",
    "wu": "wu2019",
}
_OF_ENCODERS = {  # what the name of an encoder or ASR model begins with, after its owner's where that may differ
    r"facebook/wav2vec2": "wav2vec2",
    r"(FacebookAI/)?roberta-": "roberta",
    r"(.*/)?moonshine": "moonshine",
    r"(.*/)?(all-)?minilm": "minilm",
    r"(.*/)?whisper": "whisper",
}
_ENTRY = re.compile(r"^@\w+\{(?P<key>[^,]+),.*?^\}$", re.MULTILINE | re.DOTALL)
_CITED = re.compile(r"\[(@[\w-]+(?:; @[\w-]+)*)\]")


def cite(*keys: str) -> str:
    """Cite: " [@holm1979]", or "" without a key."""
    return f" [{'; '.join(f'@{key}' for key in keys)}]" if keys else ""


def of_corpus(name: str) -> Sequence[str]:
    """Return the keys of a corpus; none if it is not a published one."""
    return [name] if name in CORPORA else []


def of_system(system: System) -> Sequence[str]:
    """Return the keys of a system and its encoders, as far as they are published."""
    keys = [OF_SYSTEMS[system.system]] if system.system in OF_SYSTEMS else []
    return [*keys, *(key for name in system.encoders.used.values() for key in of_encoder(name))]


def of_encoder(name: str) -> Sequence[str]:
    """Return the key of the publication of an encoder or ASR model; none if it is not known."""
    return [key for start, key in _OF_ENCODERS.items() if re.match(start, name, re.IGNORECASE)]


def latex_cited(text: str) -> str:
    r"""Escape a text for LaTeX with its citations as \cite; what is no citation of ours is text."""
    parts = _CITED.split(text)  # text, citation, text, …
    done: list[str] = []
    for number, part in enumerate(parts):
        keys = [key.strip().removeprefix("@") for key in part.split(";")]
        if number % 2 and all(key in _entries() for key in keys):
            done[-1] = done[-1].rstrip(" ")
            done.append(rf"~\cite{{{','.join(keys)}}}")
        else:
            spaces = [" " if part[:1] == " " else "", " " if part[-1:] == " " and len(part) > 1 else ""]
            done.append(spaces[0] + latex_prose(f"[{part}]" if number % 2 else part) + spaces[1])
    return "".join(done)


def bibliography(texts: Iterable[str]) -> str:
    """Return the BibTeX entries of all that the LaTeX texts cite."""
    cited = {key for text in texts for found in re.findall(r"\\cite\{([^}]*)\}", text) for key in found.split(",")}
    return "\n\n".join(entry for key, entry in _entries().items() if key in cited) + "\n"


@cache
def _entries() -> dict[str, str]:
    """Map key to BibTeX entry."""
    text = package_files("mmer_pipeline.report").joinpath("references.bib").read_text("utf-8")
    text = text.replace("VERSION", version("mmer-pipeline"))
    return {match["key"]: match[0] for match in _ENTRY.finditer(text)}
