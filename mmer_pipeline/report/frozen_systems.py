"""Sentences about systems on frozen features for the methods section; see `architectures.py`."""

from mmer_pipeline.layers import BEST
from mmer_pipeline.report.references import cite
from mmer_pipeline.report.report_content import System
from mmer_pipeline.report.trained_runs import JsonObject
from mmer_pipeline.settings import DEFAULTS

FROZEN = ("probe", "svm", "superb", "attentive", "loudness")  # systems on frozen features
FITTED = ("probe", "svm", "loudness")  # of these, without epochs
_STORED = {
    "speech-layers": "means and standard deviations over frames of the speech encoder's hidden states",
    "text-layers": "statistics over tokens of the text encoder's hidden states",
    "speech-states": "the speech encoder's hidden states",
}


def frozen_system(kind: str, settings: JsonObject) -> list[str]:
    """Describe a system on frozen features."""
    names = ["loudness"] if kind == "loudness" else str(settings["inputs"]).split("+")
    inputs = " and ".join([_STORED.get(name, name.rpartition(":")[2]) for name in names])
    sentences = [f"For {{}}, the inputs are frozen: {inputs}."]
    if kind in FITTED:
        return sentences
    layer = f" of layer {settings['layer']}" if kind == "attentive" and "speech-states" in names else ""
    head = {
        "superb": f"the emotion head of SUPERB{cite('superb')}: a trained weighted sum of the layers, a linear map to "
        "256, the mean over frames, and a linear layer",
        "attentive": f"attentive statistics pooling{cite('okabe2018')} of the frames{layer}, standardised by those of "
        "the training part, and a linear layer",
    }[kind]
    return [*sentences, f"For {{}}, they are read by {head}."]


def fitted(system: System) -> list[str]:
    """Say how a system without epochs was fitted."""
    settings = {**DEFAULTS, **system.runs[0].settings}
    classifier = "a linear support vector machine" if system.system == "svm" else "a logistic regression"
    weighted = ", weighted so that classes count equally," if settings["balanced_classes"] else ""
    chosen = "the layer of the encoder, if there is one, and the regularisation were"
    if settings["layer"] != BEST:
        chosen = "the regularisation was"
    return [
        f"{{}} {{was}} fitted by scikit-learn{cite('scikit-learn')}: {classifier}{weighted} on standardised numbers.",
        f"For {{}}, {chosen} chosen by cross-validation within the training part, whose parts share no speaker.",
    ]
