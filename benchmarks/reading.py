"""Reading training batches from the store, compared with a dataset that slices the HDF5 file and pads in float32."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.measure import Bench, Figure, in_turn, timed
from benchmarks.shapes import SIZES
from benchmarks.training import OurStep, Setup, make_setup
from mmer_pipeline.training.examples import StoredRows

TARGET = 20_000  # utterances per second
SHARE = 0.02  # of a training step


def figures(bench: Bench) -> Iterator[Figure]:
    """Read and pad the batches of an epoch; compare the time with that of a training step."""
    on_gpu = bench.device.type == "cuda"
    for name in bench.sizes:
        with TemporaryDirectory(dir=bench.directory) as directory:
            setup = make_setup(SIZES[name], bench.count(2000, 16), Path(directory))
            steps = setup.steps(bucket_batches=16)
            baseline = BaselineReader(setup)
            pair = in_turn(
                partial(read, partial(setup.examples.batch, pin=on_gpu), steps),
                partial(read, baseline.batch, steps),
                bench,
            )
            count = len(setup.seconds)
            yield Figure(
                "reading batches from the store",
                name,
                count / pair.ours,
                "utterances/s",
                count / pair.baseline,
                pair.ratio,
                f"{TARGET:,}/s",
                count / pair.ours >= TARGET,
                f"{_bytes(setup) / pair.ours / 1e9:.1f} GB/s of features",
            )
            step = OurStep(setup, bench.device, "bf16" if on_gpu else "fp32")
            middle = sorted(steps, key=lambda step: sum(setup.examples.seconds[p] for p in step))[len(steps) // 2]
            step(middle)
            taken = timed(partial(step, middle), bench.device)
            share = pair.ours / count * len(middle) / taken
            yield Figure(
                "reading as a share of a training step", name, 100 * share, "%", target="under 2 %", met=share < SHARE
            )


def read(batch: Callable[[Sequence[int]], object], steps: Sequence[Sequence[int]]) -> None:
    """Read the batches of some steps."""
    for positions in steps:
        batch(positions)


def _bytes(setup: Setup) -> int:
    speech, text = setup.examples.speech, setup.examples.text
    assert isinstance(speech, StoredRows)
    assert isinstance(text, StoredRows)
    return sum(file.shape[0] * file.shape[1] * 2 for file in (speech.features, text.features))


class BaselineReader:
    """The straightforward way: open HDF5 files, one slice per utterance, float32, padded by torch."""

    def __init__(self, setup: Setup) -> None:
        speech, text = setup.examples.speech, setup.examples.text
        assert isinstance(speech, StoredRows)
        assert isinstance(text, StoredRows)
        self.sources = [(h5py.File(s.features.path, "r")["values"], s.features, s.numbers) for s in (speech, text)]

    def batch(self, positions: Sequence[int]) -> list[Tensor]:
        """Padded frames and tokens."""
        padded = []
        for values, file, rows in self.sources:
            at = [rows[position] for position in positions]
            ragged = [torch.from_numpy(values[file.offsets[row] : file.offsets[row + 1]]).float() for row in at]
            padded.append(pad_sequence(ragged, batch_first=True))
        return padded
