"""The error rate by length of utterance."""

import numpy as np

from mmer_pipeline.report.report_content import LengthBin
from mmer_pipeline.report.run_results import HeldOut
from mmer_pipeline.report.utterance_facts import UtteranceFacts

LENGTH_BINS = 6


def lengths_of(held_out: HeldOut, facts: UtteranceFacts) -> tuple[LengthBin, ...] | None:
    """Return the error rate in bins of utterance length with about as many utterances each."""
    lengths = {name: facts.seconds.get(name) for name in held_out.utterance_ids}
    if any(seconds is None for seconds in lengths.values()):
        return None
    # Rounded to a millisecond, so that lengths a sample apart do not make separate bins.
    seconds = np.round([lengths[name] for name in held_out.utterance_ids], 3)  # [N]; each seed repeats an utterance
    distinct = np.round(list(lengths.values()), 3)
    edges = np.unique(np.quantile(distinct, np.linspace(0, 1, LENGTH_BINS + 1), method="inverted_cdf"))
    inner = edges[1:-1]  # a bin is (from, to]; the first also has the shortest utterance
    bins, of_distinct = np.searchsorted(inner, seconds), np.searchsorted(inner, distinct)
    wrong = held_out.truth != held_out.predicted
    return tuple(
        LengthBin(
            from_seconds=float(edges[number]),
            to_seconds=float(edges[min(number + 1, len(edges) - 1)]),
            utterances=int((of_distinct == number).sum()),
            error_rate=float(wrong[bins == number].mean()),
        )
        for number in np.unique(bins).tolist()
    )
