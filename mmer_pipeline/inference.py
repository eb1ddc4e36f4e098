"""A model's predictions for some utterances of a corpus."""

from collections.abc import Sequence

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from mmer_pipeline.data import Examples, micro_batches
from mmer_pipeline.metrics import Predictions
from mmer_pipeline.model import MMER


def predict(
    model: MMER, examples: Examples, positions: Sequence[int], max_frames: float, accelerator: Accelerator
) -> Predictions:
    """Predictions for the utterances at `positions`, in that order; the work is shared among all processes."""
    counts = {position: examples.speech.frame_count(position) for position in positions}
    lengths = [counts.get(position, 0) for position in range(max(positions) + 1)]
    parts = micro_batches(positions, lengths, max_frames)
    was_training = model.training
    model.eval()
    rows: list[tuple[int, list[float], str]] = []
    with torch.inference_mode():
        for part in parts[accelerator.process_index :: accelerator.num_processes]:
            batch = examples.batch(part).to(accelerator.device)
            with accelerator.autocast():
                output = model(batch.frames, batch.frame_mask, batch.tokens, batch.token_mask)
            probabilities = output.logits.double().softmax(dim=-1).cpu().tolist()  # [B, C]
            best = output.ctc_logits.argmax(dim=-1).cpu()  # [B, J]
            for row, position in enumerate(part):
                spoken = best[row, : counts[position]].tolist()
                rows.append((position, probabilities[row], examples.alphabet.decode(spoken)))
    model.train(was_training)
    if accelerator.num_processes > 1:
        rows = gather_object(rows)
    by_position = {position: (probability, said) for position, probability, said in rows}
    return Predictions(
        utterance_ids=tuple(examples.manifest.utterances[position].utterance_id for position in positions),
        truth=np.array([examples.labels[position] for position in positions], dtype=np.int64),
        probabilities=np.array([by_position[position][0] for position in positions]),
        transcripts=tuple(by_position[position][1] for position in positions),
        references=tuple(examples.reference(position) for position in positions),
    )
