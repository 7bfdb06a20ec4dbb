"""Replaces the embeddings of image placeholder tokens with the embeddings of the images.

The feature ``image_rows`` of a sequence contains the indices of its placeholder tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from millpond.nn import PackedBatch, to_device
from millpond.types.errors import InvalidInputError

ROWS = "image_rows"  # [num_rows], int64: token indices within the sequence, in the order of the image embeddings


def with_image_rows(
    embedded: Tensor, batch: PackedBatch, embed_images: Callable[[Mapping[str, Any]], Tensor]
) -> Tensor:
    """Return the token embeddings, with those of placeholder tokens replaced.

    Args:
        embedded: Embeddings of all tokens, [num_tokens, size].
        batch: The packed batch.
        embed_images: Maps the features of a sequence with images to their concatenated embeddings, [num_rows, size].

    Raises:
        InvalidInputError: If the number of image embeddings differs from the number of placeholder tokens.
    """
    features: Sequence[Mapping[str, Any]] = batch.features
    with_images = [index for index, sequence_features in enumerate(features) if ROWS in sequence_features]
    if not with_images:
        return embedded
    rows = [torch.from_numpy(features[index][ROWS]) + batch.offsets[index] for index in with_images]
    images = [embed_images(features[index]) for index in with_images]
    for placeholders, embeddings in zip(rows, images, strict=True):
        if len(placeholders) != len(embeddings):
            message = (
                f"the images of a prompt have {len(embeddings)} embeddings, but it contains {len(placeholders)} "
                "placeholder tokens"
            )
            raise InvalidInputError(message, parameter="multi_modal_data")
    return embedded.index_copy(0, to_device(torch.cat(rows), embedded.device), torch.cat(images).to(embedded.dtype))
