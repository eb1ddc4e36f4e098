"""Resemblyzer's speaker network: an LSTM over windows of mel frames (Wan et al., ICASSP 2018, GE2E).

Shape letters: B batch, N frames, W windows of all utterances, d embedding size. Masks: True is a real frame.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmer_pipeline.encoders.resemblyzer import BANDS, EMBEDDING, EXTRA_FRAMES, weights_file

HIDDEN, LAYERS = 256, 3
WINDOW = 160  # frames, 1.6 s
STEP = 77  # frames between windows, 1.3 windows a second
_FEWEST = 120  # frames of a recording in its last window, three quarters of it


class SpeakerNetwork(nn.Module):
    """Mel frames → speaker embeddings, whose length is one."""

    def __init__(self) -> None:
        super().__init__()
        self.is_pretrained = False  # whether it has Resemblyzer's weights: see `training.parameter_groups`
        self.lstm = nn.LSTM(BANDS, HIDDEN, LAYERS, batch_first=True)
        self.linear = nn.Linear(HIDDEN, EMBEDDING)

    def of_windows(self, windows: Tensor) -> Tensor:
        """Windows of frames `[W, 160, 40]` → their embeddings `[W, d]`, which have no negative numbers."""
        _, (hidden, _) = self.lstm(windows)  # [layers, W, hidden]
        return functional.normalize(self.linear(hidden[-1]).relu(), dim=-1)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Frames `[B, N, 40]` of the feature `resemblyzer-mel` and their mask `[B, N]` → `[B, d]`.

        An embedding is the mean of those of the windows, scaled to length one. Frames after the last one are zeros. In
        training, there is a single window at random, as in the training by GE2E.
        """
        lengths = (mask.sum(dim=1) - EXTRA_FRAMES).tolist()
        starts: Sequence[Sequence[int]] = [window_starts(length) for length in lengths]
        if self.training:
            starts = [[int(torch.randint(max(0, length - WINDOW) + 1, ()))] for length in lengths]
        end = max(row[-1] for row in starts) + WINDOW
        frames = frames.masked_fill(~mask[..., None], 0.0)
        frames = functional.pad(frames, (0, 0, 0, max(0, end - frames.shape[1])))  # [B, at least end, 40]
        device = frames.device
        rows = torch.tensor([row for row, some in enumerate(starts) for _ in some], device=device)  # [W]
        first = torch.tensor([start for some in starts for start in some], device=device)  # [W]
        windows = frames[rows[:, None], first[:, None] + torch.arange(WINDOW, device=device)]  # [W, 160, 40]
        embeddings = self.of_windows(windows)  # [W, d]
        sums = embeddings.new_zeros(len(frames), EMBEDDING).index_add(0, rows, embeddings)
        return functional.normalize(sums, dim=-1)  # a mean has the direction of its sum


def window_starts(frames: int) -> range:
    """The first frames of the windows of a recording with so many hops of 10 ms, at least one window.

    The last window may reach beyond the end by a quarter.
    """
    starts = range(0, max(1, frames + STEP - WINDOW + 2), STEP)
    return starts[:-1] if len(starts) > 1 and frames - starts[-1] < _FEWEST else starts


def load_speaker_weights(network: SpeakerNetwork) -> None:
    """Give the network Resemblyzer's weights.

    Raises:
        UserError: they are not installed, or are others.
    """
    # This reads tensors and plain values alone: no code of the file is run.
    stored = torch.load(weights_file(), map_location="cpu", weights_only=True)["model_state"]
    network.load_state_dict({name: stored[name] for name in network.state_dict()})
    network.is_pretrained = True
