"""The layers that `--layer` names: "best", "last", "all", a number, or several joined by +.

Layer 0 is the input of the first layer, as in the `hidden_states` of transformers.
"""

import re

from mmer_pipeline.errors import UserError

BEST, LAST, ALL = "best", "last", "all"


def layer_numbers(choice: str, layers: int) -> list[int]:
    """The numbers of the chosen layers of an encoder with so many layers.

    Raises:
        UserError: the choice names none, or one that the encoder does not have.
    """
    if choice == ALL:
        return list(range(layers + 1))
    if choice == LAST:
        return [layers]
    expected = f"expected {LAST}, {ALL}, or numbers from 0 to {layers} joined by +, such as 3 or 3+6"
    if not re.fullmatch(r"\d{1,4}(\+\d{1,4})*", choice, re.ASCII):
        raise UserError(f"--layer {choice[:50]}: {expected}.")
    numbers = [int(number) for number in choice.split("+")]
    if max(numbers) > layers or len(set(numbers)) < len(numbers):
        fault = "the encoder has no such layer" if max(numbers) > layers else "a layer is named twice"
        raise UserError(f"--layer {choice}: {fault}; {expected}.")
    return numbers
