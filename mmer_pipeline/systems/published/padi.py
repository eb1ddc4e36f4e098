"""A speaker network whose mel frames are masked in training (SpecAugment), after Padi et al. (Odyssey 2022).

Theirs is a ResNet on 64 bands; in its place is Resemblyzer's LSTM on 40. The sizes of the masks are not known here;
they are those of SpecAugment's policy LD, brought to 40 bands. Shape letters: B batch, N frames.
"""

import torch
from torch import Tensor

from mmer_pipeline.encoders.resemblyzer import BANDS
from mmer_pipeline.systems.published.pappagari import SpeakerTransfer

MASKS = 2  # of each kind
WIDEST = 13  # bands; LD masks up to 27 of 80
LONGEST = 100  # frames, 1 s
LARGEST_SHARE = 0.2  # of an utterance's frames in one mask


class MaskedSpeakerTransfer(SpeakerTransfer):
    """Speaker network, linear layer; in training, bands and spans of frames are silent."""

    def augmented(self, frames: Tensor, mask: Tensor) -> Tensor:
        """See `SpeakerTransfer`."""
        if not self.training:
            return frames
        real = mask.sum(dim=1).float()  # [B]
        longest = (LARGEST_SHARE * real).clamp(max=LONGEST)
        for _ in range(MASKS):
            hidden = span(real, longest, frames.shape[1])[..., None] | span(
                torch.full_like(real, BANDS), torch.full_like(real, WIDEST), BANDS
            ).unsqueeze(1)  # [B, N, 40]
            frames = frames.masked_fill(hidden, 0.0)
        return frames


def span(sizes: Tensor, longest: Tensor, positions: int) -> Tensor:
    """A span for each utterance, True inside: `[B, positions]`.

    Its length is uniform from 0 to `longest` `[B]`, its beginning uniform among those with which it is within `sizes`
    `[B]`.
    """
    lengths = (torch.rand_like(longest) * (longest.floor() + 1)).floor()  # [B]
    starts = (torch.rand_like(sizes) * (sizes - lengths + 1)).floor()  # [B]
    places = torch.arange(positions, device=sizes.device)  # [positions]
    return (places >= starts[:, None]) & (places < (starts + lengths)[:, None])
