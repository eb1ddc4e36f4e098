"""Sentences about rebuilt systems of other publications for the methods section; see `architectures.py`."""

from mmer_pipeline.report.references import OF_SYSTEMS, cite
from mmer_pipeline.report.trained_runs import JsonObject

_SPEAKERS = (
    f"a linear layer reads the speaker embedding of Resemblyzer's network{cite('ge2e')}, an LSTM over windows of 1.6 s "
    "of mel frames, in place of the publication's ResNet; the embedding of an utterance is the mean over its windows"
)
_FRAMES = "the frames of layer {layer} of the frozen speech encoder"
# The way from a system's inputs to its logits, in one or more clauses.
_DESCRIPTIONS = {
    "morais": "the frames of layer {layer} of the speech encoder, which is frozen and was not fine-tuned before, are "
    f"read by ECAPA-TDNN{cite('desplanques2020')} (512 channels, a vector of 192) and a linear layer",
    "chen": f"{_FRAMES} and the tokens, at most 460 and 20, each pass five transformer layers, three cascaded blocks "
    "of key-sparse attention to the other modality and then to themselves, and two layers of key-sparse "
    "self-attention; the means of both pass three linear layers",
    "lu": f"{_FRAMES} pass a bidirectional LSTM (128 units a direction) and self-attention with eight heads; a linear "
    "layer reads their mean",
    "memocmt": f"tokens attend to {_FRAMES}, and frames to tokens; a layer of self-attention joins both, whose minimum "
    "over positions passes two linear layers",
    "ca-mser": "a convolutional network reads log-mel spectrograms, a bidirectional LSTM MFCCs; together they weight "
    f"{_FRAMES}, and linear layers read all three",
    "mult": f"{_FRAMES} and the tokens pass a convolution to 40 channels, five layers of attention to the other "
    "modality and five of self-attention, with ten heads; a residual block and a linear layer read the last positions",
    "misa": f"two bidirectional LSTMs read {_FRAMES}, and the tokens are averaged; each modality has a private and a "
    "shared vector, a transformer layer joins the four, and two linear layers read them",
    "wang": "one branch is a two-layer LSTM on MFCC with deltas and double deltas; the other one reads two mel "
    "spectrograms (windows of 32 and 64 ms), each after two blocks of convolution, batch norm and max pooling, by a "
    "two-layer dual-sequence LSTM, whose gates are normalised over the batch in each step; the logits of both are "
    "averaged, and the inputs are standardised by those of the training part",
    "pappagari": _SPEAKERS,
    "padi": f"{_SPEAKERS}; in training, spans of time and of bands are silent (SpecAugment{cite('specaugment')})",
    "wu": "convolutions of 2 × 8 and 8 × 2 in parallel and two of 5 × 5 with max pooling pass over a spectrogram of "
    "200 bins up to 4 kHz, standardised by those of the training part; windows of 40 steps give capsules, which are "
    "routed to those of classes in three iterations; a bidirectional GRU reads the same steps, and 0.6 of the "
    "posteriors are those of the capsules",
    "makiuchi-speech": "of the speech part without the decoder, which its publication trains to rebuild the speech: "
    "layers ({layer}) of the frozen speech encoder are averaged with trained weights; {speaker}segments of 96 frames "
    "pass three convolutions with batch norm and a bidirectional LSTM, four of whose outputs are the code that three "
    "linear layers classify; in training, a segment is drawn from each utterance, and in evaluation, the posteriors of "
    "all segments are averaged",
    "makiuchi-text": "of the text part: four convolutions pass over the frozen text encoder's tokens, padded with "
    "zeros to 122, and a linear layer and a sigmoid read the mean over positions",
}
_SPEAKER_WEIGHTS = {
    "frozen": "For {}, the speaker network was frozen.",
    "finetuned": "For {}, the speaker network was fine-tuned, on one window of an utterance in a step.",
    "scratch": "For {}, the speaker network was trained from random weights, on one window of an utterance in a step.",
}
REBUILT = tuple(_DESCRIPTIONS)
LOSSES = {  # in place of the cross-entropy
    "wang": "the mean of the cross-entropies of both branches",
    "misa": "the sum of cross-entropy, central moment discrepancy of the shared vectors, 0.3 · products of private and "
    "other vectors, and error of the rebuilt vectors, over the utterances of a step",
    "wu": "0.6 of the capsules' margin loss and 0.4 of the GRU's cross-entropy",
}


def published_system(kind: str, settings: JsonObject) -> list[str]:
    """Describe a rebuilt system."""
    vectors = str(settings["inputs"]).split("+")[1:]
    repeated = f"speaker vectors ({', '.join(vectors)}) are repeated at each frame; " if vectors else ""
    described = _DESCRIPTIONS[kind].format(layer=settings["layer"], speaker=repeated)
    sentences = [f"{{}} {{was}} rebuilt after its publication{cite(OF_SYSTEMS[kind])}: {described}."]
    if _SPEAKERS in described:
        sentences.append(_SPEAKER_WEIGHTS[str(settings["speaker_weights"])])
    if settings["padding"] == "reference":
        sentences.append("For {}, padding counts as frames and tokens, as in the authors' code.")
    return sentences
