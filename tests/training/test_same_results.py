"""Losses of two epochs of the models, as they were when their results were entered in code_identity.json.

If one of these fails after an edit, the edit changes results: enter it with
`python -m mmer_pipeline.training.code_identity --new-results`, and the new losses here.
"""

import pytest
from helpers.pipeline import metrics, quick_settings, train

from mmer_pipeline.systems.registry import settings_for

TOLERANCE = 1e-3  # other versions of torch and other processors differ in the last digits
REFERENCE = {"text_self_attention": True, "speech_projections": True, "dropout_at": "inputs", "spec_augment": False}

# System, settings → CE, CTC (None: no CTC head) and gradient norm of each epoch.
LOSSES = [
    ("mmer", {"alpha": 0.01}, (1.331457, 61.39576, 1.458531), (1.141288, 59.96042, 1.431668)),
    ("mmer", {"alpha": 0.01, **REFERENCE}, (1.363842, 64.63468, 1.195559), (1.160149, 62.65219, 1.162364)),
    ("cai", {"alpha": 0.01}, (1.320356, 62.77962, 1.580813), (1.211356, 60.94487, 1.484249)),
    ("roberta", {"finetune_text": True, "text_pooling": "pooler"},
     (1.487343, None, 4.360412), (1.453369, None, 3.817241)),
]  # fmt: skip


@pytest.mark.parametrize(("system", "options", "first", "second"), LOSSES)
def test_a_system_has_the_losses_that_its_results_were_entered_with(
    corpus, tiny_text, tiny_speech, system, options, first, second
):
    base = quick_settings(tiny_text, tiny_speech)
    names = ("text_encoder", "speech_encoder", "epochs", "learning_rate", "batch_size")
    shared = {name: getattr(base, name) for name in names}
    train(settings_for(system, fold=1, **shared, **options), corpus)
    for line, (ce, ctc, norm) in zip(metrics(), (first, second), strict=True):
        assert line["train"]["ce"] == pytest.approx(ce, rel=TOLERANCE)
        assert line["train"]["ctc"] == (None if ctc is None else pytest.approx(ctc, rel=TOLERANCE))
        assert line["gradient_norm"]["mean"] == pytest.approx(norm, rel=TOLERANCE)
