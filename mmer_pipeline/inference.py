"""A model's predictions for some utterances of a corpus."""

from collections.abc import Sequence

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from mmer_pipeline.data import Examples, micro_batches
from mmer_pipeline.errors import UserError
from mmer_pipeline.metrics import Predictions
from mmer_pipeline.model import EmotionModel, Output


def predict(
    model: EmotionModel, examples: Examples, positions: Sequence[int], max_seconds: float, accelerator: Accelerator
) -> Predictions:
    """Predictions for the utterances at `positions`, in that order; the work is shared among all processes.

    Raises:
        UserError: an output that is not a number.
    """
    parts = micro_batches(positions, examples.seconds, max_seconds)
    was_training = model.training
    model.eval()
    rows: list[tuple[int, list[float], str]] = []
    with torch.inference_mode():
        for part in parts[accelerator.process_index :: accelerator.num_processes]:
            batch = examples.batch(part).to(accelerator.device)
            with accelerator.autocast():
                output = model(**batch.inputs)
            probabilities = output.logits.double().softmax(dim=-1).cpu().tolist()  # [B, C]
            rows += zip(part, probabilities, _spell(output, examples, part), strict=True)
    model.train(was_training)
    if accelerator.num_processes > 1:
        rows = gather_object(rows)
    broken = [position for position, probabilities, _ in rows if not np.isfinite(probabilities).all()]
    if broken:
        name = examples.manifest.utterances[broken[0]].utterance_id
        raise UserError(
            f"The model's output is not a number for {len(broken)} of {len(rows)} utterances, {name} among them. "
            "Nothing saved is lost. Look at its recording and features, or train with a smaller --learning-rate or "
            "--precision fp32."
        )
    by_position = {position: (probability, said) for position, probability, said in rows}
    return Predictions(
        utterance_ids=tuple(examples.manifest.utterances[position].utterance_id for position in positions),
        truth=np.array([examples.labels[position] for position in positions], dtype=np.int64),
        probabilities=np.array([by_position[position][0] for position in positions]),
        transcripts=tuple(by_position[position][1] for position in positions),
        references=tuple(examples.reference(position) for position in positions),
    )


def _spell(output: Output, examples: Examples, positions: Sequence[int]) -> list[str]:
    """The greedy CTC transcripts of a batch; empty without a CTC head."""
    if output.ctc_logits is None or not examples.alphabet or not examples.speech:
        return [""] * len(positions)
    best = output.ctc_logits.argmax(dim=-1).cpu()  # [B, J]
    counts = [examples.speech.frame_count(position) for position in positions]
    return [examples.alphabet.decode(row[:count].tolist()) for row, count in zip(best, counts, strict=True)]
