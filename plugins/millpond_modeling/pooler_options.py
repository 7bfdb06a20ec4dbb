"""Options that IO processors pass to built-in poolers, in ``extra_kwargs`` of a sequence's pooling parameters."""

from dataclasses import asdict, dataclass
from typing import Self

from millpond.types.params import PoolingParams


@dataclass(frozen=True, slots=True)
class SparseOptions:
    """Options of poolers that return sparse vectors.

    Attributes:
        as_terms: True to return the ids and weights of the active dimensions, [num_terms, 2], instead of the weight of
            every dimension, [dim].
        max_active_dims: The maximum number of active dimensions, those with the largest weights; None for the
            checkpoint's value.
    """

    as_terms: bool = False
    max_active_dims: int | None = None

    @classmethod
    def read(cls, params: PoolingParams) -> Self:
        """Return the options of a sequence; values of other types are ignored."""
        extra = params.extra_kwargs or {}
        as_terms, max_active_dims = extra.get("as_terms"), extra.get("max_active_dims")
        return cls(bool(as_terms), max_active_dims if isinstance(max_active_dims, int) else None)


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """Options of the poolers of a model with separate routes for queries and documents.

    Attributes:
        input_type: The input type of the text, which selects the route; None for the main route.
    """

    input_type: str | None = None

    @classmethod
    def read(cls, params: PoolingParams) -> Self:
        """Return the options of a sequence; values of other types are ignored."""
        input_type = (params.extra_kwargs or {}).get("input_type")
        return cls(input_type if isinstance(input_type, str) else None)


def add_options(params: PoolingParams, options: SparseOptions | RouteOptions) -> PoolingParams:
    """Return the parameters with the options in their ``extra_kwargs``."""
    extra = {**(params.extra_kwargs or {}), **asdict(options)}
    return params.model_copy(update={"extra_kwargs": extra})
