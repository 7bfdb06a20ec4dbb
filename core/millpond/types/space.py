"""The contract of the space of a model's embeddings."""

from typing import Any, Protocol


class Space(Protocol):
    """The files and settings that decide the numbers of embeddings.

    Vectors of one space can be compared. The kit ``millpond_checkpoints`` computes them.
    """

    @property
    def id(self) -> str:
        """A short id; equal ids are the same space."""
        ...

    @property
    def descriptor(self) -> dict[str, Any]:
        """The id with the files and settings, as JSON values."""
        ...

    def of_call(
        self,
        *,
        dimensions: int | None = None,
        normalized: bool | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> "Space":
        """Return the space of calls that change settings of the model."""
        ...

    def require(self, expected: object) -> None:
        """Check that this is the expected space, by its id or descriptor.

        Raises:
            SpaceMismatchError: If it is another space.
        """
        ...
