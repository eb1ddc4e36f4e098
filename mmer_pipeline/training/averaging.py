"""The mean of the weights of saved models, which `--average-best` makes of the best epochs."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmer_pipeline import files
from mmer_pipeline.errors import UserError, shortened
from mmer_pipeline.paths import WEIGHTS_NAME


def write_average(models: Sequence[Path], directory: Path) -> None:
    """Write the model whose weights are the means of those of saved models, the best one first.

    The means are computed in float64. Statistics of batch norm are averaged, too; whole numbers, such as its count of
    batches, are those of the best model, and so is the configuration, which all of them share.

    Raises:
        UserError: a model is missing or damaged.
    """
    with files.replacing_directory(directory) as temporary:
        try:
            with ExitStack() as opened:
                weights = [opened.enter_context(safe_open(model / WEIGHTS_NAME, framework="pt")) for model in models]
                names = weights[0].keys()
                means = {name: _mean([file.get_tensor(name) for file in weights]) for name in names}
                metadata = weights[0].metadata()
            shutil.copytree(models[0], temporary, dirs_exist_ok=True)
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(
                f"The models of the best epochs, {', '.join(model.name for model in models)} in {models[0].parent}, "
                f"cannot be averaged ({shortened(error, 200)}). Start the fold again with --restart."
            ) from None
        save_file(means, temporary / WEIGHTS_NAME, metadata=metadata)


def _mean(values: Sequence[Tensor]) -> Tensor:
    if not values[0].is_floating_point():
        return values[0]
    if len({value.shape for value in values}) > 1:
        raise ValueError("their shapes differ")
    return torch.stack([value.double() for value in values]).mean(dim=0).to(values[0].dtype)
