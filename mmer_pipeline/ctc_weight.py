"""Whether the weighted CTC loss outweighs the emotion loss. This module imports nothing heavy.

The CTC loss is a sum over an utterance's frames: at the start it is in the hundreds, where the cross-entropy of four
classes is 1.4. What counts is the gradient of each part; the losses are compared where it was not measured. A large
ratio late in training means that the emotion loss is almost 0, not that it never had a say.
"""

from dataclasses import dataclass

TOO_LARGE_GRADIENT = 4.0  # times the gradient of CE
TOO_LARGE_LOSS = 10.0  # times CE
UNLEARNT = 0.5  # nats; below it, the emotions are learnt well enough, whatever CTC weighs


@dataclass(frozen=True)
class EpochLosses:
    """The means of an epoch."""

    ce: float  # nats per utterance
    ctc: float | None  # without α; None: no CTC head
    ce_gradient: float | None  # norm of the gradient of CE; None: not measured
    ctc_gradient: float | None  # norm of the gradient of α · CTC; None: not measured


def ctc_outweighs(alpha: float, epoch: EpochLosses) -> str:
    """Say how much larger the part of α · CTC is, if that is too much while the emotions are not learnt; else ""."""
    if not alpha or epoch.ctc is None or epoch.ce < UNLEARNT:
        return ""
    if epoch.ce_gradient and epoch.ctc_gradient is not None:
        ratio = epoch.ctc_gradient / epoch.ce_gradient
        return f"the gradient of α · CTC is {ratio:.0f} times that of CE" if ratio > TOO_LARGE_GRADIENT else ""
    ratio = alpha * epoch.ctc / epoch.ce
    return f"α · CTC is {ratio:.0f} times CE" if ratio > TOO_LARGE_LOSS else ""


def advice(alpha: float, found: str) -> str:
    """A sentence for whoever trains: what was found, and what to try."""
    return (
        f"at α = {alpha:g}, {found}: the model learns to spell first, and to recognise emotions late or not at all. "
        f"Try --alpha {alpha / 10:g}."
    )
