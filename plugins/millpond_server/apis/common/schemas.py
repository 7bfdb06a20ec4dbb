"""Request fields that several APIs share: inputs, options of texts and vectors, and their validation."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from millpond import AsyncLLM, LateChunkingParams
from millpond_server.apis.common.unsupported_fields import UnsupportedField, check_unsupported
from millpond_server.http.errors import ApiError

Encoding = Literal["float", "base64", "bytes", "bytes_only"]
TEMPLATE = "chat_template"
ITEMS_OF_TASKS = "x-items-of-tasks"  # marks a field whose schema contains the types of objects that tasks read
REQUEST_ID_PATTERN = r"^[ -~]{1,256}$"  # printable ASCII, because the id is used in headers
# These schemas are for the OpenAPI description. Inputs are validated in code, which is faster for large ones.
IDS: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}, "minItems": 1}
OBJECTS: dict[str, Any] = {"type": "array", "items": {"type": "object"}, "minItems": 1}
LISTS_OF_IDS: dict[str, Any] = {"type": "array", "items": IDS, "minItems": 1}
TextsOrIds = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, TEXTS, IDS, LISTS_OF_IDS]})]
AnyInput = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, TEXTS, IDS, LISTS_OF_IDS, OBJECTS]})]
Query = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})]
Documents = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, TEXTS, OBJECTS, {"type": "object"}]})]
INPUT_TYPES = {
    "query": "query",
    "search_query": "query",
    "document": "document",
    "search_document": "document",
    "passage": "document",
}


def merge_aliases(request: BaseModel, *names: str) -> Any:
    """Return the value of a field that has several names; None if all are missing.

    Raises:
        ValueError: If two names have different values.
    """
    values: dict[str, Any] = {}
    for name in names:
        value = getattr(request, name)
        if value is not None:
            values[name] = value
    distinct = set(values.values())
    if len(distinct) > 1:
        message = f"{', '.join(f'{name}={value}' for name, value in values.items())} disagree: pass one of them"
        raise ValueError(message)
    return distinct.pop() if distinct else None


def require_any(*groups: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON schema of a body that must contain all fields of at least one group."""
    return {"anyOf": [{"required": list(group)} for group in groups]}


class Body(BaseModel):
    """A request body or a part of one. Unknown fields are ignored and nulls count as missing: clients send both.

    Attributes:
        without_effect: Fields of other servers that do not change the result.
        unsupported: Fields of other servers that would change the result, and are refused.
        idle: Fields whose default value has no effect; if a request contains it, a header lists the field.
        aliases: Other names of fields, whose values are merged into the field.
    """

    model_config = ConfigDict(extra="ignore", protected_namespaces=())
    without_effect: ClassVar[frozenset[str]] = frozenset()
    unsupported: ClassVar[Mapping[str, UnsupportedField]] = {}
    idle: ClassVar[frozenset[str]] = frozenset()
    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if None in value.values():
            value = {name: item for name, item in value.items() if item is not None}
        if not cls.unsupported.keys().isdisjoint(value):
            check_unsupported(cls.unsupported, value)
        return value

    @model_validator(mode="after")
    def _merge_aliases(self) -> Self:
        for name, aliases in self.aliases.items():
            if not self.model_fields_set.isdisjoint(aliases):
                setattr(self, name, merge_aliases(self, name, *aliases))
        return self


class TextOptions(Body):
    """Options of each text.

    Attributes:
        model: The name of the model (default: the first model of the server).
        user: Ignored.
        truncate_prompt_tokens: Maximum number of tokens; -1 for the model's maximum.
        truncation_side: The side from which tokens are removed.
        padding: "max_length" to pad each text to the model's maximum length.
        request_id: The suffix of the response's id (default: the id in the header, or a random one).
        priority: Requests with lower values are served first.
        prompt_name: The name of the model's prompt to prepend to each text.
        prompt: The prompt to prepend to each text.
    """

    model: str | None = None
    user: str | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, strict=True)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    padding: Literal["max_length", "do_not_pad"] | None = None
    request_id: Annotated[str, Field(pattern=REQUEST_ID_PATTERN)] | None = None
    priority: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] = 0
    prompt_name: str | None = None
    prompt: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of ``AsyncLLM``."""
        options: dict[str, Any] = {}
        for name in ("prompt_name", "prompt", "truncate_prompt_tokens"):
            value = getattr(self, name)
            if value is not None:
                options[name] = value
        for name in ("truncation_side", "padding"):
            value = getattr(self, name)
            if value is not None:
                options.setdefault("tokenization_kwargs", {})[name] = value
        return options


class LateChunking(BaseModel):
    """Parameters of late chunking: the number of tokens per chunk."""

    model_config = ConfigDict(extra="forbid")

    chunk_size: Annotated[int, Field(strict=True)]


class SpaceOptions(Body):
    """The expected space of embeddings.

    Attributes:
        expect_space: The id of the expected space, or its descriptor; another space is refused with 409.
    """

    expect_space: str | dict[str, Any] | None = None

    @property
    def space_options(self) -> dict[str, Any]:
        """The options that change the space of embeddings, as arguments of ``Space.of_call``."""
        fields = vars(self)
        dimensions = fields.get("dimensions") or fields.get("output_dimension")
        return {"dimensions": dimensions, "normalized": fields.get("use_activation", fields.get("normalize"))}


class VectorOptions(SpaceOptions, TextOptions):
    """Options of vectors.

    Attributes:
        encoding_format: Numbers, base64, or raw bytes with ("bytes") or without ("bytes_only") a header of metadata.
        embed_dtype: The type of the values, for all formats except "float".
        endianness: The byte order of the values, for all formats except "float".
        use_activation: True to normalize vectors.
        dimensions: Number of dimensions to keep.
        late_chunking_params: For ``token_embed``: return one vector for each chunk of N tokens, and their ranges.
    """

    encoding_format: Encoding = "float"
    embed_dtype: Literal["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"] = "float32"
    endianness: Literal["native", "little", "big"] = "little"
    use_activation: bool | None = None
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = None
    late_chunking_params: LateChunking | None = None

    @property
    def chunking(self) -> LateChunkingParams | None:
        """The parameters of late chunking in the format of ``PoolingParams``; None without it."""
        params = self.late_chunking_params
        return None if params is None else LateChunkingParams(params.chunk_size)


class Usage(BaseModel):
    """Token usage."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: dict[str, Any] | None = None


class Inputs(Body):
    """A body with texts, token ids or conversations.

    Attributes:
        input: A text, a list of texts, the token ids of one text, or a list of lists of token ids.
        messages: A conversation, or a list of conversations, instead of `input`.
        add_special_tokens: True to add special tokens (default: true for texts, false for conversations).
        add_generation_prompt: True if the chat template starts a response of the assistant.
        continue_final_message: True if the last message is not closed.
        chat_template: A chat template; needs `--trust-request-chat-template`.
        chat_template_kwargs: Additional variables of the chat template.
        mm_processor_kwargs: Options of images, such as a smaller maximum size.
    """

    model_config = ConfigDict(json_schema_extra=require_any(("input",), ("messages",)))

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
    def request_template(self) -> Any:
        """The chat template in the request, as a field or among the variables; None if it has neither."""
        if self.chat_template is not None:
            return self.chat_template
        return (self.chat_template_kwargs or {}).get(TEMPLATE)

    @property
    def conversation_options(self) -> dict[str, Any]:
        """The options of each conversation, without the chat template."""
        variables = self.chat_template_kwargs
        if variables is not None:
            variables = {name: value for name, value in variables.items() if name != TEMPLATE}
        return {
            "add_generation_prompt": self.add_generation_prompt,
            "continue_final_message": self.continue_final_message,
            "chat_template_kwargs": variables,
            "add_special_tokens": bool(self.add_special_tokens),
        }


class InstructionOptions(TextOptions):
    """Options with an instruction, which is the prompt to prepend to each text.

    Attributes:
        instruction: Mixedbread's name of ``prompt``.
    """

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"prompt": ("instruction",)}

    instruction: str | None = None


class QueryDocumentOptions(Body):
    """Options that mark texts as queries or documents.

    Attributes:
        input_type: "query" or "document", or another client's name of them; other values are ignored.
        is_query: True for queries, false for documents.
    """

    input_type: str | None = None
    is_query: bool | None = None

    def encoder_input_type(self, llm: AsyncLLM) -> str | None:
        """Return "query" or "document" for a model that encodes them differently, else None.

        Raises:
            ApiError: 400 if both fields are given and disagree.
        """
        from_type = INPUT_TYPES.get(self.input_type or "")
        from_flag = {True: "query", False: "document", None: None}[self.is_query]
        if None not in (from_type, from_flag) and from_type != from_flag:
            message = f"is_query={self.is_query} and input_type={self.input_type!r} disagree: pass one of them"
            raise ApiError(400, message, parameter="is_query", reason="invalid")
        return (from_type or from_flag) if llm.model_config.retrieval.has_input_types else None
