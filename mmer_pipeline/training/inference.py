"""Predictions of a model for utterances of a corpus."""

from collections.abc import Sequence

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from mmer_pipeline.corpora.transcripts import Alphabet
from mmer_pipeline.errors import UserError
from mmer_pipeline.scoring.metrics import Predictions
from mmer_pipeline.systems.base import EmotionModel, Output
from mmer_pipeline.training import memory_budget
from mmer_pipeline.training.batches import micro_batches
from mmer_pipeline.training.examples import Examples

Row = tuple[int, list[float], str, float | None]  # position, probability of each class, CTC transcript, mean gate
GPU_SECONDS = 120.0  # audio in a batch, padding included; needs a small part of the memory of training on as much


def predict(model: EmotionModel, examples: Examples, positions: Sequence[int], accelerator: Accelerator) -> Predictions:
    """Predict the utterances at `positions`, in that order; several processes share the work.

    Raises:
        UserError: an output is not a number.
    """
    was_training = model.training
    model.eval()
    rows: list[Row] = []
    max_seconds = GPU_SECONDS if accelerator.device.type == "cuda" else memory_budget.CPU_SECONDS
    parts = micro_batches(positions, examples.seconds, max_seconds)
    remaining = parts[accelerator.process_index :: accelerator.num_processes]
    with torch.inference_mode():
        while remaining:
            part = remaining.pop()
            try:
                rows += _predict_batch(model, examples, part, accelerator)
            except RuntimeError as error:
                if not memory_budget.is_out_of_memory(error) or len(part) == 1:
                    raise
                remaining += [part[: len(part) // 2], part[len(part) // 2 :]]
    model.train(was_training)
    if accelerator.num_processes > 1:
        rows = gather_object(rows)
    broken = [position for position, probabilities, *_ in rows if not np.isfinite(probabilities).all()]
    if broken:
        name = examples.manifest.utterances[broken[0]].utterance_id
        raise UserError(
            f"The model's output is not a number for {len(broken)} of {len(rows)} utterances, including {name}. "
            "Everything saved is kept. Check the recording and features of this utterance, or train with a smaller "
            "--learning-rate or --precision fp32."
        )
    by_position = {row[0]: row for row in rows}
    return Predictions(
        utterance_ids=tuple(examples.manifest.utterances[position].utterance_id for position in positions),
        truth=np.array([examples.labels[position] for position in positions], dtype=np.int64),
        probabilities=np.array([by_position[position][1] for position in positions]),
        transcripts=tuple(by_position[position][2] for position in positions),
        gates=tuple(by_position[position][3] for position in positions),
        references=tuple(examples.reference(position) for position in positions),
    )


def _predict_batch(model: EmotionModel, examples: Examples, part: Sequence[int], accelerator: Accelerator) -> list[Row]:
    device = accelerator.device
    batch = examples.batch(part, pin=device.type == "cuda").to(device)
    with accelerator.autocast():
        output = model(**batch.inputs)
    probabilities = output.logits.double().softmax(dim=-1).cpu().tolist()  # [B, C]
    transcripts = decode(output, batch.frame_counts, examples.alphabet)
    gates = [None] * len(part) if output.gate is None else output.gate.double().cpu().tolist()  # [B]
    return list(zip(part, probabilities, transcripts, gates, strict=True))


def decode(output: Output, frame_counts: Sequence[int], alphabet: Alphabet | None) -> list[str]:
    """Decode the CTC transcripts of a batch greedily; they are empty without a CTC head."""
    if output.ctc_logits is None or alphabet is None:
        return [""] * len(output.logits)
    best = output.ctc_logits.argmax(dim=-1).cpu()  # [B, J]
    return [alphabet.decode(row[:count].tolist()) for row, count in zip(best, frame_counts, strict=True)]
