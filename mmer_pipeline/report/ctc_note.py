"""The note on systems whose CTC loss outweighs their emotion loss."""

from mmer_pipeline.ctc_weight import EpochLosses, ctc_outweighs
from mmer_pipeline.report.fold_scores import Epoch
from mmer_pipeline.report.run_results import SystemResults


def ctc_note(system: SystemResults) -> str:
    """Say in how many folds CTC still outweighs CE in the last epoch, with emotions that are not learnt; "" if in none.

    A fold whose emotions are learnt by then was not harmed by what CTC weighed before.
    """
    alpha = system.runs[0].record.settings.alpha
    folds = [fold for run in system.runs for fold in run.folds]
    found = [said for fold in folds if (said := ctc_outweighs(alpha, _losses(fold.epochs[-1])))]
    if not found:
        return ""
    return (
        f"in the last epoch of {len(found)} of {len(folds)} folds the emotions were not learnt and {found[0]}, at "
        f"α = {alpha:g}; a smaller α may do better."
    )


def _losses(epoch: Epoch) -> EpochLosses:
    norms = epoch.gradient_norms
    return EpochLosses(epoch.ce, epoch.ctc, norms.emotion if norms else None, norms.ctc if norms else None)
