"""Rows of images in the places of the tokens that stand for them.

A sequence with images says under ``image_rows``, among its features, which of its tokens images stand for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from millpond.nn import PackedBatch
from millpond.types.errors import InvalidInputError

ROWS = "image_rows"  # [num_rows], int64: places in the sequence, in the order of what stands there


def with_image_rows(embedded: Tensor, batch: PackedBatch, see: Callable[[Mapping[str, Any]], Tensor]) -> Tensor:
    """Embedded tokens, with the rows of images where these stand.

    Args:
        embedded: The vectors of all tokens, [num_tokens, size].
        batch: Their sequences.
        see: The features of a sequence with images -> its rows, end to end, [num_rows, size].

    Raises:
        InvalidInputError: If there are not as many rows as tokens that they stand for.
    """
    features: Sequence[Mapping[str, Any]] = batch.features
    seeing = [place for place, one in enumerate(features) if ROWS in one]
    if not seeing:
        return embedded
    places = [torch.from_numpy(features[place][ROWS]) + batch.offsets[place] for place in seeing]
    rows = [see(features[place]) for place in seeing]
    for asked, given in zip(places, rows, strict=True):
        if len(asked) != len(given):
            message = f"the images of a prompt are {len(given)} rows, and {len(asked)} of its tokens stand for them"
            raise InvalidInputError(message, parameter="multi_modal_data")
    return embedded.index_copy(0, torch.cat(places).to(embedded.device), torch.cat(rows).to(embedded.dtype))
