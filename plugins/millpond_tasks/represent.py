"""Options of the task ``represent``: several results of a prompt from one forward pass."""

from typing import Any

from millpond_tasks.options import QueryDocumentOptions


class RepresentOptions(QueryDocumentOptions):
    """Options of ``represent``.

    Attributes:
        representations: The results: fields of ``PoolingParams``, such as ``{"task": "embed", "dimensions": 128}``.
    """

    representations: Any = None
