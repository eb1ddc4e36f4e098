"""Licences of the corpora and pretrained encoders that a model is made of, as far as they are known here.

They are notes for the card of a trained model, not legal advice. Corpora: their readers' docstrings say where the facts
come from. Encoders: their cards on the hub.
"""

from collections.abc import Iterable
from dataclasses import dataclass

OTHER = "other"  # the hub's word for a licence that is not on its list


@dataclass(frozen=True)
class Licence:
    """A licence, and what it means for a model."""

    name: str  # as the hub spells it: "mit", "cc-by-nc-sa-4.0", or OTHER
    title: str
    note: str  # one or two sentences


_ESD = Licence(
    OTHER,
    "for research only, by a licence form",
    # The authors' repository also contains an MIT licence; their terms for the recordings are those of its README.
    "The corpus may be used for research only, after a licence form has been sent to its authors. Check the form "
    "before you publish a model trained on it.",
)
_CORPORA = {  # by the name of the reader
    "iemocap": Licence(
        OTHER,
        "release agreement of USC SAIL",
        "The corpus is given out for research, by agreement with the University of Southern California, and its data "
        "must not be passed on. Check the agreement before you publish a model trained on it.",
    ),
    "ravdess": Licence(
        "cc-by-nc-sa-4.0",
        "CC BY-NC-SA 4.0",
        "Credit the authors, make no commercial use, and share what you derive under the same licence.",
    ),
    "crema-d": Licence(
        "odbl",
        "Open Database License 1.0 (contents: Database Contents License 1.0)",
        "Credit the corpus, and share databases that you derive from it under the same licence. It does not mention "
        "trained models.",
    ),
    "emo-db": Licence(
        OTHER,
        "no licence text known",
        "The corpus is free of charge, and its authors ask to be cited. Check the terms on its site, "
        "http://emodb.bilderbar.info, before you publish a model trained on it.",
    ),
    "meld": Licence(
        OTHER,
        "GPL-3.0 as published, except the footage",
        "The authors publish the corpus under GPL-3.0, but its clips are from the TV series Friends, whose rights are "
        "not theirs. Check whether you may publish a model trained on them.",
    ),
    "esd": _ESD,
    "esd-en": _ESD,
    "esd-zh": _ESD,
}

_MIT = Licence("mit", "MIT", "Any use is allowed; keep the copyright notice and the licence's text.")
_APACHE = Licence("apache-2.0", "Apache 2.0", "Any use is allowed; keep the notices, and say what you changed.")
_WAVLM = Licence(
    OTHER,
    "licence unclear",
    "Its card on the hub refers to the licence of Microsoft's repository UniSpeech (CC BY-SA 3.0), but its source is "
    "in the repository unilm (MIT). Clarify this before you publish a model made from it.",
)
# Whole names: of facebook/wav2vec2-base-…, the voxpopuli models are CC BY-NC 4.0.
_ENCODERS = {
    **dict.fromkeys(("roberta-base", "roberta-large", "FacebookAI/roberta-base", "FacebookAI/roberta-large"), _MIT),
    **dict.fromkeys(("embedded/moonshine-tiny", "UsefulSensors/moonshine-tiny"), _MIT),
    **dict.fromkeys(("embedded/minilm-l6", "sentence-transformers/all-MiniLM-L6-v2"), _APACHE),
    **dict.fromkeys(("facebook/wav2vec2-base", "facebook/wav2vec2-base-100h", "facebook/wav2vec2-base-960h"), _APACHE),
    **dict.fromkeys(("facebook/wav2vec2-large", "facebook/wav2vec2-large-960h"), _APACHE),
    "facebook/wav2vec2-xls-r-300m": _APACHE,
    **dict.fromkeys(("facebook/hubert-base-ls960", "facebook/hubert-large-ll60k"), _APACHE),
    **dict.fromkeys(("microsoft/wavlm-base", "microsoft/wavlm-base-plus", "microsoft/wavlm-large"), _WAVLM),
}


def licence_of_corpus(corpus: str) -> Licence | None:
    """The licence of a corpus, by the name of its reader; None: unknown, such as that of a corpus of one's own."""
    return _CORPORA.get(corpus)


def licence_of_encoder(name: str) -> Licence | None:
    """The licence of a pretrained model, by its hub id or its name as an embedded model; None: unknown."""
    return _ENCODERS.get(name)


def licence_for_model(corpus: str, encoders: Iterable[str]) -> str:
    """The hub's `license` value for a model that was trained on this corpus and made from these encoders.

    It is the corpus's, because those of the known encoders ask for no more than their notices. It is "other" if the
    licence of the corpus or of an encoder is unknown, or is none of those that the hub lists.
    """
    names = [
        licence.name if licence else OTHER
        for licence in (licence_of_corpus(corpus), *(licence_of_encoder(name) for name in encoders))
    ]
    return OTHER if OTHER in names else names[0]
