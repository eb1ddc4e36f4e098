"""The optimiser of a system with tiny encoders and random rows."""

import numpy as np
import torch
from accelerate import Accelerator

from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training.build_model import build_model
from mmer_pipeline.training.examples import Examples
from mmer_pipeline.training.fold_inputs import Encoders
from mmer_pipeline.training.step import Optimiser

LETTERS = Alphabet(WAV2VEC2_ALPHABET)


class Rows:
    """Frames or tokens of an utterance: random, of different lengths."""

    def __init__(self, manifest, dim, longest):
        generator = np.random.default_rng(dim)
        lengths = generator.integers(longest // 2, longest, len(manifest.utterances))
        self.rows = [generator.normal(size=(length, dim)).astype(np.float16) for length in lengths]

    def row(self, position):
        return self.rows[position]

    def length(self, position):
        return len(self.rows[position])


def optimisers(manifest, tiny_text, tiny_speech):
    """For a fixture: a function that makes the optimiser of a system with tiny encoders."""

    def optimiser_of(system="mmer", speech=tiny_speech, longest=300, splits_steps=True, **options):
        settings = settings_for(
            system, fold=1, text_encoder=str(tiny_text), speech_encoder=str(speech), **{"batch_size": 8, **options}
        )
        torch.manual_seed(0)
        model = build_model(settings, Encoders.of(settings), manifest.labels, LETTERS).train()
        model.splits_steps = splits_steps
        examples = Examples(
            manifest,
            speech=Rows(manifest, model.speech.front_dim, longest) if hasattr(model, "speech") else None,
            frame_rate=50.0,
            text=Rows(manifest, 64, 12),
            alphabet=LETTERS,
        )
        return Optimiser(settings, model, examples, Accelerator(cpu=True))

    return optimiser_of
