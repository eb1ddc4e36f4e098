"""Sentences about rebuilt systems of other publications for the methods section; see `architectures.py`."""

from mmer_pipeline.report.references import OF_SYSTEMS, cite
from mmer_pipeline.report.trained_runs import JsonObject

# What each system does with its inputs, in one or more clauses.
_DESCRIPTIONS = {
    "wang": "one branch is a two-layer LSTM on MFCC with deltas and double deltas; the other one reads two mel "
    "spectrograms (windows of 32 and 64 ms), each after two blocks of convolution, batch norm and max pooling, by a "
    "two-layer dual-sequence LSTM, whose gates are normalised over the batch in each step; the logits of both are "
    "averaged, and the inputs are standardised by those of the training part",
}
REBUILT = tuple(_DESCRIPTIONS)
LOSSES = {"wang": "the mean of the cross-entropies of both branches"}  # in place of the cross-entropy


def published_system(kind: str, settings: JsonObject) -> list[str]:
    """Describe a rebuilt system."""
    described = _DESCRIPTIONS[kind].format(layer=settings["layer"])
    return [f"{{}} {{was}} rebuilt after its publication{cite(OF_SYSTEMS[kind])}: {described}."]
