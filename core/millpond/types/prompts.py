"""The forms of prompts and their conversion to ``Prompt``, independent of tokenizers and models."""

from collections.abc import Iterable, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from operator import index
from typing import NotRequired, TypeAlias, TypedDict, TypeGuard

from millpond.types.errors import InvalidInputError
from millpond.types.image_options import PARAMETER as IMAGE_OPTIONS
from millpond.types.image_options import ImageOptions

FORMS = (
    'a str, a list of token ids, {"prompt": str}, {"prompt_token_ids": [int, ...]}, {"messages": [...]} or '
    '{"data": ...} '
    "(for a list of prompts, a list of these)"
)
NO_DATA = (
    "The 'data' field of the prompt is expected to contain the prompt data and it cannot be None. "
    "Refer to the documentation of the IOProcessor in use for more details."
)
CONTENTS = ("prompt", "prompt_token_ids", "data", "messages")
CHAT_FIELDS = (
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
)
BUDGET = "template_budget"  # with the template of a client
PREFIX = "prefix"  # with messages: the text before them
MEDIA_FIELDS = frozenset({"data", "messages", "multi_modal_data"})  # fields of prompts with other content than text
EXTRAS = frozenset({"multi_modal_data", IMAGE_OPTIONS, "multi_modal_uuids", "cache_salt"})


class TextPrompt(TypedDict):
    """A prompt given as text."""

    prompt: str
    multi_modal_data: NotRequired[Mapping[str, object]]
    mm_processor_kwargs: NotRequired[Mapping[str, object]]
    cache_salt: NotRequired[str]


class TokensPrompt(TypedDict):
    """A prompt given as token ids, special tokens included."""

    prompt_token_ids: list[int]
    multi_modal_data: NotRequired[Mapping[str, object]]
    mm_processor_kwargs: NotRequired[Mapping[str, object]]
    cache_salt: NotRequired[str]


class DataPrompt(TypedDict):
    """A prompt that only an IO processor plugin understands."""

    data: object


@dataclass
class TemplateBudget:
    """The CPU time for untrusted templates, such as those in requests; shared by the prompts of a request.

    Untrusted templates are rendered in a process with limits on time, memory and system access.

    Attributes:
        seconds: The remaining CPU time.
    """

    seconds: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A prompt given as messages, not yet checked.

    Attributes:
        messages: Objects with a ``role`` and a ``content``.
        template: The Jinja template; None for the model's template.
        budget: The CPU time for the template; None for a trusted template.
        variables: Additional variables of the template.
        add_generation_prompt: True if the template starts an answer.
        continue_final_message: True if the last message is not closed.
        add_special_tokens: True to add special tokens to those of the template.
        prefix: A text before the messages, such as an instruction: a system message if the template supports it, else
            text before the rendered messages.
        image_options: The options of its images.
    """

    messages: tuple[object, ...]
    template: str | None = None
    budget: TemplateBudget | None = None
    variables: Mapping[str, object] | None = None
    add_generation_prompt: bool = False
    continue_final_message: bool = False
    add_special_tokens: bool = False
    prefix: str = ""
    image_options: ImageOptions | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One prompt in the form that IO processors receive.

    Exactly one of ``text``, ``token_ids``, ``data`` and ``conversation`` is not None, unless only ``multi_modal_data``
    is set. ``token_ids`` are not yet checked against a vocabulary. ``add_special_tokens`` is True if the tokenizer adds
    special tokens to the text. ``image_options`` are the options of its images. ``is_written`` is True if a template
    wrote the text; truncation keeps the ids of ``ending`` at its end.
    """

    text: str | None = None
    token_ids: tuple[object, ...] | None = None
    data: object | None = None
    multi_modal_data: Mapping[str, object] | None = None
    conversation: Conversation | None = None
    add_special_tokens: bool = True
    image_options: ImageOptions | None = None
    is_written: bool = False
    ending: tuple[int, ...] = ()


@dataclass(frozen=True)
class ScoreCall:
    """The arguments of ``LLM.score``, not yet checked.

    Attributes:
        queries: One text, or a list.
        documents: One text, or a list.
    """

    queries: object
    documents: object


@dataclass(frozen=True, eq=False, slots=True)
class ImagePart:
    """A part of a content with an image: a URL or an image object.

    Parts with the same URL are equal; other parts are equal if they contain the same object.
    """

    image: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImagePart) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> str | int:
        return self.image if isinstance(self.image, str) else id(self.image)


Content: TypeAlias = str | tuple[str | ImagePart, ...]  # a text, or parts with at least one image


@dataclass(frozen=True)
class PairItem:
    """A query with a document, for cross-encoders; or a query or a document alone, for embedding models.

    Attributes:
        query: The query; None for a document alone.
        document: The document; None for a query alone.
    """

    query: Content | None = None
    document: Content | None = None


@dataclass(frozen=True)
class ChunksCall:
    """The arguments of ``LLM.embed_chunks``, not yet checked.

    Attributes:
        texts: One text, or a list.
        spans: The character ranges of the chunks of the text, or of each text; None to split by tokens.
        chunk_tokens: The number of tokens of a chunk.
        overlap: The number of tokens that consecutive chunks share.
        method: "late" or "naive".
    """

    texts: object
    spans: object = None
    chunk_tokens: object = None
    overlap: object = 0
    method: object = "late"


@dataclass(frozen=True)
class TextInChunks:
    """One text of a call of ``LLM.embed_chunks``, with the fields of ``ChunksCall`` for this text."""

    text: object
    spans: object = None
    chunk_tokens: object = None
    overlap: object = 0
    method: object = "late"


def plugin_data(item: object) -> object:
    """Return the content of a prompt of the form ``{"data": ...}``.

    Raises:
        InvalidInputError: If it has another form, or the data is None.
    """
    if not isinstance(item, Mapping) or "data" not in item:
        message = f'the "plugin" pooling task takes {{"data": ...}}; got {type(item).__name__}'
        raise InvalidInputError(message, parameter="data")
    if item["data"] is None:
        raise InvalidInputError(NO_DATA, parameter="data")
    return item["data"]


def split_prompts(prompts: object) -> list[object]:
    """Split the argument of a caller into single prompts, in order; a list of ints is one prompt.

    Raises:
        InvalidInputError: If it has another type, or is empty.
    """
    if isinstance(prompts, str | Mapping):
        return [prompts]
    check_ordered(prompts, "prompts")
    if not _is_list(prompts):
        message = f"expected {FORMS}; got {type(prompts).__name__}"
        raise InvalidInputError(message, parameter="prompts")
    items = list(prompts)
    if not items:
        message = f"You must pass at least one prompt: the list is empty. Expected {FORMS}"
        raise InvalidInputError(message, parameter="prompts")
    return [items] if is_token_id(items[0]) else items


def parse_prompt(item: object) -> Prompt:
    """Convert one prompt to a ``Prompt``.

    Raises:
        InvalidInputError: If its form is unknown.
    """
    if isinstance(item, str):
        return Prompt(text=str(item))
    if isinstance(item, Mapping):
        return _parse_mapping(item)
    check_ordered(item, "prompts")
    if _is_list(item):
        return Prompt(token_ids=tuple(item))
    message = f"expected {FORMS}; got {type(item).__name__}"
    raise InvalidInputError(message, parameter="prompts")


def check_ordered(value: object, parameter: str) -> None:
    """Refuse sets and views of dicts, because results are returned in the order of prompts.

    Raises:
        InvalidInputError: If the value is one of these.
    """
    if isinstance(value, AbstractSet | ValuesView):
        kind = type(value).__name__
        message = (
            f"{parameter}: results are returned in the order of prompts, and a {kind} has none. Pass a list, such as "
            "sorted(...) or list(...)"
        )
        raise InvalidInputError(message, parameter=parameter)


def may_hold_media(item: object) -> bool:
    """Return True if a prompt, a query or a document may contain more than text or token ids."""
    if isinstance(item, PairItem):
        return not all(isinstance(content, str | None) for content in (item.query, item.document))
    return isinstance(item, Mapping) and not MEDIA_FIELDS.isdisjoint(item)


def is_token_id(value: object) -> bool:
    """Return True for an integer of Python, numpy or torch, except a bool."""
    if type(value) is int:
        return True
    if isinstance(value, bool) or getattr(value, "ndim", 0) != 0 or "bool" in str(getattr(value, "dtype", "")):
        return False
    try:
        index(value)  # type: ignore[arg-type]  # index raises TypeError for other types
    except TypeError:
        return False
    return True


def _is_list(value: object) -> TypeGuard[Iterable[object]]:
    """Return True for iterables except bytes; arrays without dimensions have ``__iter__`` but are not iterable."""
    return isinstance(value, Iterable) and not isinstance(value, bytes | bytearray) and getattr(value, "ndim", 1) != 0


def _parse_mapping(item: Mapping[str, object]) -> Prompt:
    contents = [key for key in CONTENTS if item.get(key) is not None]
    images = item.get("multi_modal_data")
    images = None if isinstance(images, Mapping) and not images else images
    if len(contents) > 1:
        names = ", ".join(map(repr, contents))
        message = f"a prompt has one of 'prompt', 'prompt_token_ids', 'data', 'messages'; got {names}"
        raise InvalidInputError(message, parameter="prompts")
    if "prompt_embeds" in item:
        message = "'prompt_embeds' is not supported: pass 'prompt' or 'prompt_token_ids'"
        raise InvalidInputError(message, parameter="prompts")
    if "data" in item and item["data"] is None:
        raise InvalidInputError(NO_DATA, parameter="data")
    if not contents and images is None:
        message = f"expected {FORMS}; got a dict with the keys {sorted(map(str, item))}"
        raise InvalidInputError(message, parameter="prompts")
    options = (*CHAT_FIELDS, PREFIX) if contents == ["messages"] else ("add_special_tokens",)
    known = (*CONTENTS, *options, *sorted(EXTRAS))
    unknown = sorted(str(key) for key in item if key not in known and (key != BUDGET or contents != ["messages"]))
    if unknown:
        message = f"Unknown field {unknown[0]!r} of a prompt. Available: {', '.join(known)}"
        raise InvalidInputError(message, parameter=unknown[0])
    if images is not None and not isinstance(images, Mapping):
        message = f"'multi_modal_data' must be a dict such as {{'image': ...}}; got {type(images).__name__}"
        raise InvalidInputError(message, parameter="multi_modal_data")
    return _with_content(item, images)


def _with_content(item: Mapping[str, object], images: Mapping[str, object] | None) -> Prompt:
    text, ids = item.get("prompt"), item.get("prompt_token_ids")
    if text is not None and not isinstance(text, str):
        message = f"'prompt' must be a str; got {type(text).__name__}"
        raise InvalidInputError(message, parameter="prompt")
    check_ordered(ids, "prompt_token_ids")
    if ids is not None and (isinstance(ids, str | Mapping) or not _is_list(ids)):
        message = f"'prompt_token_ids' must be a list of integers; got {type(ids).__name__}"
        raise InvalidInputError(message, parameter="prompt_token_ids")
    special = item.get("add_special_tokens", True)
    if not isinstance(special, bool):
        message = f"'add_special_tokens' must be true or false; got {special!r}"
        raise InvalidInputError(message, parameter="add_special_tokens")
    return Prompt(
        text=text,
        token_ids=None if ids is None else tuple(ids),
        data=item.get("data"),
        multi_modal_data=images,
        conversation=None if item.get("messages") is None else _conversation(item),
        add_special_tokens=special,
        image_options=_image_options(item),
    )


def _image_options(item: Mapping[str, object]) -> ImageOptions | None:
    """Return the options of the images of a prompt; None for none."""
    options = item.get(IMAGE_OPTIONS)
    if options is None or isinstance(options, ImageOptions):
        return options
    if not isinstance(options, Mapping):
        message = f"'{IMAGE_OPTIONS}' must be a dict of options of images; got {type(options).__name__}"
        raise InvalidInputError(message, parameter=IMAGE_OPTIONS)
    return ImageOptions(options) if options else None


def _conversation(item: Mapping[str, object]) -> Conversation:
    messages, template, variables = item["messages"], item.get("chat_template"), item.get("chat_template_kwargs")
    budget = item.get(BUDGET)
    if not isinstance(messages, list | tuple):
        message = f"'messages' must be a list of objects with 'role' and 'content'; got {type(messages).__name__}"
        raise InvalidInputError(message, parameter="messages")
    if template is not None and not isinstance(template, str):
        message = f"'chat_template' must be Jinja text; got {type(template).__name__}"
        raise InvalidInputError(message, parameter="chat_template")
    if variables is not None and not (isinstance(variables, Mapping) and all(isinstance(n, str) for n in variables)):
        message = f"'chat_template_kwargs' must be a dict of variables; got {type(variables).__name__}"
        raise InvalidInputError(message, parameter="chat_template_kwargs")
    if budget is not None and not isinstance(budget, TemplateBudget):
        message = f"'{BUDGET}' must be a TemplateBudget; got {type(budget).__name__}"
        raise InvalidInputError(message, parameter=BUDGET)
    prefix = item.get(PREFIX) or ""
    if not isinstance(prefix, str):
        message = f"'{PREFIX}' must be a str; got {type(prefix).__name__}"
        raise InvalidInputError(message, parameter=PREFIX)
    flags = {name: item.get(name) or False for name in CHAT_FIELDS[2:]}
    wrong = next((name for name, value in flags.items() if not isinstance(value, bool)), None)
    if wrong is not None:
        message = f"{wrong!r} must be true or false; got {flags[wrong]!r}"
        raise InvalidInputError(message, parameter=wrong)
    return Conversation(
        messages=tuple(messages),
        template=template,
        budget=budget,
        variables=variables,
        add_generation_prompt=flags["add_generation_prompt"] is True,
        continue_final_message=flags["continue_final_message"] is True,
        add_special_tokens=flags["add_special_tokens"] is True,
        prefix=prefix,
        image_options=_image_options(item),
    )
