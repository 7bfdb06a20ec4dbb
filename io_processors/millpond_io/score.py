"""The IO processor of the task ``score``: queries and documents to scores, by what the model can do."""

from collections.abc import Sequence
from typing import Any

from millpond.context import Context
from millpond.engine.request import PoolingRequest
from millpond.errors import InvalidInputError
from millpond.inputs import ScoreCall, TextOfPair
from millpond.io_processor import IOProcessor
from millpond.outputs import ArrayOutput, PoolingRequestOutput
from millpond.params import PoolingParams


class ScoreProcessor(IOProcessor[TextOfPair, ArrayOutput]):
    """Queries and documents to scores."""
