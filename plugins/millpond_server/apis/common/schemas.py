"""What the requests of several APIs share: fields, their limits, and the inputs that a body may hold."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from millpond import AsyncLLM
from millpond_server.apis.common.refused import Refused, check_refused
from millpond_server.http.errors import ApiError

Encoding = Literal["float", "base64", "bytes", "bytes_only"]
TEMPLATE = "chat_template"
REQUEST_ID = r"^[ -~]{1,256}$"  # printable ASCII, since ids go into headers too
# Inputs are checked by hand, which is faster where they are large: this is for the description of the routes.
IDS: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "minItems": 1}
OBJECTS: dict[str, Any] = {"type": "array", "items": {"type": "object"}, "minItems": 1}
LISTS_OF_IDS: dict[str, Any] = {"type": "array", "items": IDS, "minItems": 1}
TextsOrIds = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, TEXTS, IDS, LISTS_OF_IDS]})]
AnyInput = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, TEXTS, IDS, LISTS_OF_IDS, OBJECTS]})]
Query = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})]
Documents = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, TEXTS, OBJECTS, {"type": "object"}]})]


SIDES = {"query": "query", "search_query": "query", "document": "document", "search_document": "document"}
SIDES["passage"] = SIDES["document"]


def same(request: BaseModel, *names: str) -> Any:
    """The value of a field that clients call by several names; None where none is given.

    Raises:
        ValueError: If two of them disagree.
    """
    given: dict[str, Any] = {}
    for name in names:
        value = getattr(request, name)
        if value is not None:
            given[name] = value
    values = set(given.values())
    if len(values) > 1:
        message = f"{', '.join(f'{name}={value}' for name, value in given.items())} disagree: pass one of them"
        raise ValueError(message)
    return values.pop() if values else None


def activation(use_activation: bool | None, *, raw_scores: bool) -> bool:
    """Whether an activation is applied, where a body says whether scores are raw.

    Raises:
        ValueError: If it says both, and they disagree.
    """
    if use_activation is raw_scores:
        message = f"use_activation={use_activation} and raw_scores={raw_scores} disagree: pass one of them"
        raise ValueError(message)
    return not raw_scores


def one_of(*groups: tuple[str, ...]) -> dict[str, Any]:
    """What a JSON schema says of fields one group of which must be given."""
    return {"anyOf": [{"required": list(group)} for group in groups]}


class Body(BaseModel):
    """A request's body, or a part of one: unknown fields are ignored, and nulls are not given, as clients send both."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())
    # Fields that other servers know: those that change no result, and those that would and are refused.
    without_effect: ClassVar[frozenset[str]] = frozenset()
    refused: ClassVar[Mapping[str, Refused]] = {}
    # Fields of other servers that ask for nothing where they have their default value: a header tells of them then.
    idle: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = value
        if None in value.values():
            given = {name: item for name, item in value.items() if item is not None}
        if not cls.refused.keys().isdisjoint(given):
            check_refused(cls.refused, given)
        return given


class TextOptions(Body):
    """What is asked of each text.

    Attributes:
        model: The name of the model; the server's first where none is given.
        user: Ignored.
        truncate_prompt_tokens: Keep at most so many tokens; -1 for the model's maximum.
        truncation_side: The side tokens are cut from.
        padding: Fill each text up to the model's maximum length with padding, or not.
        request_id: The id of the request, which the id of the answer ends with where no header names one.
        priority: A lower one is served first.
        prompt_name: The name of the model's prompt that is put before each text.
        prompt: The text that is put before each text.
    """

    model: str | None = None
    user: str | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, strict=True)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    padding: Literal["max_length", "do_not_pad"] | None = None
    request_id: Annotated[str, Field(pattern=REQUEST_ID)] | None = None
    priority: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] = 0
    prompt_name: str | None = None
    prompt: str | None = None

    def options(self) -> dict[str, Any]:
        """What of this a call of ``AsyncLLM`` takes."""
        said: dict[str, Any] = {}
        for name in ("prompt_name", "prompt", "truncate_prompt_tokens"):
            value = getattr(self, name)
            if value is not None:
                said[name] = value
        for name in ("truncation_side", "padding"):
            value = getattr(self, name)
            if value is not None:
                said.setdefault("tokenization_kwargs", {})[name] = value
        return said


class VectorOptions(TextOptions):
    """What is asked of vectors.

    Attributes:
        encoding_format: As numbers, as base64, or as bytes, with or without a header that tells of them.
        embed_dtype: The type of a value, for all but "float".
        endianness: The order of a value's bytes, for all but "float".
        use_activation: Whether vectors are normalised.
        dimensions: Keep the first so many dimensions.
    """

    encoding_format: Encoding = "float"
    embed_dtype: Literal["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"] = "float32"
    endianness: Literal["native", "little", "big"] = "little"
    use_activation: bool | None = None
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = None


class Usage(BaseModel):
    """How many tokens were read."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: dict[str, Any] | None = None


class Inputs(Body):
    """A body with texts, token ids or conversations.

    Attributes:
        input: A text, a list of texts, the token ids of one text, or a list of such lists.
        messages: Instead: a conversation, or a list of conversations.
        add_special_tokens: Whether special tokens are added; by default to texts, and not to what a template writes.
        add_generation_prompt: Whether the template of a conversation opens an answer.
        continue_final_message: Whether the last message is left open.
        chat_template: A template; refused, unless the server takes those of requests.
        chat_template_kwargs: Further variables of the model's template.
        mm_processor_kwargs: How much smaller images are read than the model was loaded to read them.
    """

    model_config = ConfigDict(json_schema_extra=one_of(("input",), ("messages",)))

    input: AnyInput = None
    messages: list[Any] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool = False
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.input is None and self.messages is None:
            message = "one of `input` and `messages` must be given"
            raise ValueError(message)
        if self.input is not None and self.messages is not None:
            message = "`input` and `messages` are both given: pass one of them"
            raise ValueError(message)
        if self.input == [] or self.messages == []:
            message = "You must pass at least one prompt"
            raise ValueError(message)
        return self

    @property
    def own_template(self) -> Any:
        """The template that the request brings, as a field or among the variables; None if it brings none."""
        if self.chat_template is not None:
            return self.chat_template
        return (self.chat_template_kwargs or {}).get(TEMPLATE)

    @property
    def of_conversations(self) -> dict[str, Any]:
        """What is said of every conversation, but its template."""
        given = self.chat_template_kwargs
        variables = None if given is None else {name: value for name, value in given.items() if name != TEMPLATE}
        return {
            "add_generation_prompt": self.add_generation_prompt,
            "continue_final_message": self.continue_final_message,
            "chat_template_kwargs": variables,
            "add_special_tokens": bool(self.add_special_tokens),
        }


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


class Sides(Body):
    """What is said of a body's texts.

    Attributes:
        input_type: "query" or "document", and what other clients call them; others mean neither.
        is_query: The same as true or false.
    """

    input_type: str | None = None
    is_query: bool | None = None

    def side(self, llm: AsyncLLM) -> str | None:
        """The side that is meant, of a model that reads the two in different ways; else None.

        Raises:
            ApiError: 400, if both fields are given and disagree.
        """
        named = SIDES.get(self.input_type or "")
        told = {True: "query", False: "document", None: None}[self.is_query]
        if None not in (named, told) and named != told:
            message = f"is_query={self.is_query} and input_type={self.input_type!r} disagree: pass one of them"
            raise ApiError(400, message, parameter="is_query", reason="invalid")
        return (named or told) if llm.model_config.retrieval.has_input_types else None
