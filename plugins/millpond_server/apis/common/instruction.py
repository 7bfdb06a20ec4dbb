"""``instruction`` on routes that give vectors, as Mixedbread's API defines it: another name of ``prompt``."""

from typing import Self

from pydantic import model_validator

from millpond_server.apis.common.schemas import TextOptions, same


class WithInstruction(TextOptions):
    """A body whose instruction is the text that is put before each of its inputs.

    Attributes:
        instruction: The same as ``prompt``, as Mixedbread has it.
    """

    instruction: str | None = None

    @model_validator(mode="after")
    def _instruction_is_the_prompt(self) -> Self:
        self.prompt = same(self, "prompt", "instruction")
        return self
