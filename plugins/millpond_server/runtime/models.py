"""The models of a server by the names that requests call them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from millpond import AsyncLLM
from millpond_server.http.errors import ApiError, shortened, shown

LONGEST_NAME = 200  # of an unknown model, in the error that tells of it
UNNAMED = ("", "default/not-specified")  # the latter is what Infinity's client sends where none is named


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A loaded model and its names.

    Attributes:
        names: What requests may call it; the first is its own.
        llm: The model.
        created: When it was loaded, in seconds of the Unix clock.
        name: The name that answers give it.
    """

    names: tuple[str, ...]
    llm: AsyncLLM
    created: int = field(default_factory=lambda: int(time.time()))
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.names[0])


class Models:
    """All models of a server; the first serves requests that name none."""

    def __init__(self, served: Sequence[ServedModel]) -> None:
        if not served:
            message = "a server needs a model"
            raise ValueError(message)
        self.served = tuple(served)
        names: dict[str, ServedModel] = {}
        for model in served:
            for name in model.names:
                if name in names:
                    message = f"two models are served as {name!r}: --served-model-name tells them apart"
                    raise ValueError(message)
                names[name] = model
        self.by_name: Mapping[str, ServedModel] = MappingProxyType(names)

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that one of them serves."""
        return frozenset(task for model in self.served for task in model.llm.supported_tasks)

    def get(self, name: object) -> ServedModel:
        """The model that a request names; the first if it names none.

        Raises:
            ApiError: If there is none of that name.
        """
        if name is None or name in UNNAMED:
            return self.served[0]
        model = self.by_name.get(name) if isinstance(name, str) else None
        if model is None:
            asked = shortened(name, LONGEST_NAME) if isinstance(name, str) else shown(name)
            message = f"The model `{asked}` does not exist. This server has: {', '.join(self.by_name)}"
            raise ApiError(404, message, parameter="model", reason="unknown_model")
        return model
