"""Batch norm of padded utterances. Masks: True is a real position."""

from torch import Tensor, nn
from torch.nn import functional


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch norm whose statistics are those of the real positions of a batch; padding becomes zero.

    In training, a single position is normalised by the running statistics: it has no variance.
    """

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """Values `[..., d]` and their mask `[...]` → values of the same shape."""
        real = values[mask]  # [positions, d]
        if len(real) == 1:
            statistics = self.running_mean, self.running_var
            found = functional.batch_norm(real, *statistics, self.weight, self.bias, training=False, eps=self.eps)
        else:
            found = super().forward(real)
        normalised = found.new_zeros(values.shape)
        normalised[mask] = found
        return normalised
