"""``POST /tokenize`` and ``POST /detokenize``, as vLLM has them."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from millpond_server.apis.common.schemas import Body, Inputs, one_of


class TokenizeRequest(Body):
    """A text, or a conversation, whose tokens are wanted.

    Attributes:
        model: The name of the model; the server's first where none is given.
        prompt: The text.
        messages: Instead: a conversation; of its images, the tokens whose places they take.
        add_special_tokens: Whether special tokens are added; by default to a text, and not to what a template writes.
        return_token_strs: Whether the tokens are told as text too.
        add_generation_prompt: Whether the template of a conversation opens an answer; by default it does, unless its
            last message is left open.
        continue_final_message: Whether the last message is left open.
        chat_template: A template; refused, unless the server takes those of requests.
        chat_template_kwargs: Further variables of the model's template.
        mm_processor_kwargs: How much smaller images are read than the model was loaded to read them.
    """

    model_config = ConfigDict(json_schema_extra=one_of(("prompt",), ("messages",)))

    model: str | None = None
    prompt: str | None = None
    messages: list[Any] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool = False
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            message = "one of `prompt` and `messages` must be given"
            raise ValueError(message)
        if self.messages == []:
            message = "You must pass at least one message"
            raise ValueError(message)
        return self

    @property
    def conversation(self) -> Inputs:
        """The messages as other routes take them."""
        opens = not self.continue_final_message if self.add_generation_prompt is None else self.add_generation_prompt
        return Inputs(
            messages=self.messages,
            add_special_tokens=self.add_special_tokens,
            add_generation_prompt=opens,
            continue_final_message=self.continue_final_message,
            chat_template=self.chat_template,
            chat_template_kwargs=self.chat_template_kwargs,
            mm_processor_kwargs=self.mm_processor_kwargs,
        )


class TokenizeResponse(BaseModel):
    """Its tokens."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(Body):
    """Tokens whose text is wanted."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0, lt=2**63, strict=True)]]


class DetokenizeResponse(BaseModel):
    """Their text."""

    prompt: str
