"""The models of a server, by their names in requests."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from millpond import AsyncLLM
from millpond.types.errors import CheckpointError
from millpond.types.space import Space
from millpond_server.http.errors import ApiError, short_repr, shortened
from millpond_server.runtime.failing_inputs import FailingInputs

MAX_SHOWN_NAME_CHARS = 200
logger = logging.getLogger(__name__)
EMBEDDING_TASKS = frozenset({"embed", "token_embed", "embed_sparse"})
DEFAULT_MODEL_NAMES = ("", "default/not-specified")  # the second is sent by Infinity's client


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A loaded model and its names.

    Attributes:
        names: Its names in requests.
        llm: The model.
        created: The time when it was loaded, as a Unix timestamp.
        name: Its name in responses, the first of `names`.
        spaces: The result of `space`, once it is known.
        failing_inputs: The inputs that the model failed on.
    """

    names: tuple[str, ...]
    llm: AsyncLLM
    created: int = field(default_factory=lambda: int(time.time()))
    name: str = field(init=False)
    spaces: list[Space | None] = field(default_factory=list, repr=False)
    failing_inputs: FailingInputs = field(default_factory=FailingInputs, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.names[0])

    async def space(self) -> Space | None:
        """Return the space of the model's embeddings; None if it has none or it is unknown.

        The first call reads all weights.
        """
        if not self.spaces:
            self.spaces.append(await asyncio.to_thread(self._read_space))
        return self.spaces[0]

    def _read_space(self) -> Space | None:
        try:
            return None if EMBEDDING_TASKS.isdisjoint(self.llm.supported_tasks) else self.llm.space
        except CheckpointError as error:  # the model in memory still works
            logger.warning("the space of %s is unknown: %s", self.name, error)
            return None


class Models:
    """All models of a server; the first is the default model.

    Args:
        served: The models.
        elsewhere: The names of models in other processes, for messages.
    """

    def __init__(self, served: Sequence[ServedModel], elsewhere: Sequence[str] = ()) -> None:
        if not served:
            message = "a server needs at least one model"
            raise ValueError(message)
        self.served = tuple(served)
        self._elsewhere = tuple(elsewhere)
        names: dict[str, ServedModel] = {}
        for model in served:
            for name in model.names:
                if name in names:
                    message = f"two models have the name {name!r}: pass different names with --served-model-name"
                    raise ValueError(message)
                names[name] = model
        self.by_name: Mapping[str, ServedModel] = MappingProxyType(names)

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that at least one model supports."""
        return frozenset(task for model in self.served for task in model.llm.supported_tasks)

    def get(self, name: object) -> ServedModel:
        """Return the model with a name; the default model for None.

        Raises:
            ApiError: 404 if no model has that name.
        """
        if name is None or name in DEFAULT_MODEL_NAMES:
            return self.served[0]
        model = self.by_name.get(name) if isinstance(name, str) else None
        if model is None:
            text = shortened(name, MAX_SHOWN_NAME_CHARS) if isinstance(name, str) else short_repr(name)
            names = ", ".join([*self.by_name, *self._elsewhere])
            message = f"The model `{text}` does not exist. This server has: {names}"
            raise ApiError(404, message, parameter="model", reason="unknown_model")
        return model
