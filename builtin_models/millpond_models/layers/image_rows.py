"""Rows of images in the places of the tokens that stand for them."""

from torch import Tensor

from millpond.errors import InvalidInputError


def with_image_rows(embedded: Tensor, places: Tensor, rows: Tensor) -> Tensor:
    """Embedded tokens, with the rows of images where these stand.

    Args:
        embedded: The vectors of all tokens, [num_tokens, size].
        places: The tokens in whose places images stand, in order, [num_rows], int64.
        rows: What stands there, [num_rows, size].

    Raises:
        InvalidInputError: If there are not as many rows as places.
    """
    if len(places) != len(rows):
        message = f"the images of the batch are {len(rows)} rows, and its tokens have room for {len(places)}"
        raise InvalidInputError(message, parameter="multi_modal_data")
    return embedded.index_copy(0, places, rows.to(embedded.dtype))
