"""Sentences about rebuilt systems of other publications for the methods section; see `architectures.py`."""

from mmer_pipeline.report.references import OF_SYSTEMS, cite
from mmer_pipeline.report.trained_runs import JsonObject

_SPEAKERS = (
    f"a linear layer reads the speaker embedding of Resemblyzer's network{cite('ge2e')}, an LSTM over windows of 1.6 s "
    "of mel frames, in place of the publication's ResNet; the embedding of an utterance is the mean over its windows"
)
# The way from a system's inputs to its logits, in one or more clauses.
_DESCRIPTIONS = {
    "morais": "the frames of layer {layer} of the speech encoder, which is frozen and was not fine-tuned before, are "
    f"read by ECAPA-TDNN{cite('desplanques2020')} (512 channels, a vector of 192) and a linear layer",
    "wang": "one branch is a two-layer LSTM on MFCC with deltas and double deltas; the other one reads two mel "
    "spectrograms (windows of 32 and 64 ms), each after two blocks of convolution, batch norm and max pooling, by a "
    "two-layer dual-sequence LSTM, whose gates are normalised over the batch in each step; the logits of both are "
    "averaged, and the inputs are standardised by those of the training part",
    "pappagari": _SPEAKERS,
    "padi": f"{_SPEAKERS}; in training, spans of time and of bands are silent (SpecAugment{cite('specaugment')})",
}
_SPEAKER_WEIGHTS = {
    "frozen": "For {}, the speaker network was frozen.",
    "finetuned": "For {}, the speaker network was fine-tuned, on one window of an utterance in a step.",
    "scratch": "For {}, the speaker network was trained from random weights, on one window of an utterance in a step.",
}
REBUILT = tuple(_DESCRIPTIONS)
LOSSES = {"wang": "the mean of the cross-entropies of both branches"}  # in place of the cross-entropy


def published_system(kind: str, settings: JsonObject) -> list[str]:
    """Describe a rebuilt system."""
    described = _DESCRIPTIONS[kind].format(layer=settings["layer"])
    sentences = [f"{{}} {{was}} rebuilt after its publication{cite(OF_SYSTEMS[kind])}: {described}."]
    if _SPEAKERS in described:
        sentences.append(_SPEAKER_WEIGHTS[str(settings["speaker_weights"])])
    return sentences
