"""The forms a prompt may have, and their reduction to one. Knows nothing of tokenizers or models."""

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
OF_CHATS = (
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
)
BUDGET = "template_budget"  # beside a template that somebody else wrote
PREFIX = "prefix"  # beside messages, what a text would have before it
WITH_MEDIA = frozenset({"data", "messages", "multi_modal_data"})  # fields of prompts that may hold more than text
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
    """How long templates may take that somebody else than the program wrote, such as who sends a request.

    Prompts that share one share the time. Their templates are rendered where they can take neither more of it, nor much
    memory, nor anything else.

    Attributes:
        seconds: The CPU time that is left.
    """

    seconds: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """A prompt given as messages, not yet checked.

    Attributes:
        messages: Objects with a ``role`` and a ``content``.
        template: Jinja text that is taken instead of the model's own; None for that.
        budget: How long that may take; None where the program trusts it.
        variables: Further variables of the template.
        add_generation_prompt: Whether the template opens an answer.
        continue_final_message: Whether the last message is left open.
        add_special_tokens: Whether special tokens are added to those that the template writes.
        prefix: What the model reads before, such as an instruction: a message of the system where the template takes
            one, else text before what is written.
        image_options: What is asked of its images.
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
    """One prompt in the one form that IO processors see.

    Exactly one of ``text``, ``token_ids``, ``data`` and ``conversation`` is not None, unless ``multi_modal_data``
    stands alone. ``token_ids`` is what the caller gave, not yet checked against a vocabulary. ``add_special_tokens``
    says whether a text gets the tokenizer's special tokens. ``image_options`` is what is asked of its images.
    ``is_written`` says that a template wrote the text; ``ending`` are the ids at its end, kept by truncation.
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
    """What ``LLM.score`` is called with, not yet checked.

    Attributes:
        queries: One text, or a list.
        documents: One text, or a list.
    """

    queries: object
    documents: object


@dataclass(frozen=True, eq=False, slots=True)
class ImagePart:
    """A part of a content that holds an image: a URL, or one of the program's own.

    Parts of the same URL are equal; of other images, those of the same object.
    """

    image: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImagePart) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> str | int:
        return self.image if isinstance(self.image, str) else id(self.image)


Content: TypeAlias = str | tuple[str | ImagePart, ...]  # a text; or parts, at least one of them an image


@dataclass(frozen=True)
class PairItem:
    """What of pairs is computed at once, as in ``LLM.score``: a query with a document, or one of them alone.

    Attributes:
        query: The query; None if it is the document alone.
        document: The document; None if it is the query alone.
    """

    query: Content | None = None
    document: Content | None = None


@dataclass(frozen=True)
class ChunksCall:
    """What ``LLM.embed_chunks`` is called with, not yet checked.

    Attributes:
        texts: One text, or a list.
        spans: The characters of the chunks of the text, or of each text; None where they are cut by tokens.
        chunk_tokens: The tokens of a chunk.
        overlap: The tokens that a chunk shares with the one before it.
        method: "late" or "naive".
    """

    texts: object
    spans: object = None
    chunk_tokens: object = None
    overlap: object = 0
    method: object = "late"


@dataclass(frozen=True)
class TextInChunks:
    """One text of a call of ``LLM.embed_chunks``; fields as there, ``spans`` of this text alone."""

    text: object
    spans: object = None
    chunk_tokens: object = None
    overlap: object = 0
    method: object = "late"


def plugin_data(item: object) -> object:
    """What a prompt of the form ``{"data": ...}`` holds.

    Raises:
        InvalidInputError: If it has another form, or holds nothing.
    """
    if not isinstance(item, Mapping) or "data" not in item:
        message = f'the "plugin" pooling task takes {{"data": ...}}; got {type(item).__name__}'
        raise InvalidInputError(message, parameter="data")
    if item["data"] is None:
        raise InvalidInputError(NO_DATA, parameter="data")
    return item["data"]


def split_prompts(prompts: object) -> list[object]:
    """Split what a caller passed into single prompts, in order: a list of ints is one prompt.

    Raises:
        InvalidInputError: If it is nothing that holds prompts, or holds none.
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
    """Bring one prompt into the one form.

    Raises:
        InvalidInputError: If its form is none of those that are known.
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
    """Refuse sets and views of dicts: results are given by place, and a set has none.

    Raises:
        InvalidInputError: If it is one of these.
    """
    if isinstance(value, AbstractSet | ValuesView):
        kind = type(value).__name__
        message = (
            f"{parameter}: a {kind} has no places that results could be given by. Pass a list: list(...) of what you "
            "have, sorted(...) for one order of a set"
        )
        raise InvalidInputError(message, parameter=parameter)


def may_hold_media(item: object) -> bool:
    """Whether a prompt, or a query or document, may hold more than text or token ids."""
    if isinstance(item, PairItem):
        return not all(isinstance(content, str | None) for content in (item.query, item.document))
    return isinstance(item, Mapping) and not WITH_MEDIA.isdisjoint(item)


def is_token_id(value: object) -> bool:
    """Whether the value is an integer: Python's, numpy's or torch's, not a bool."""
    if type(value) is int:
        return True
    if isinstance(value, bool) or getattr(value, "ndim", 0) != 0 or "bool" in str(getattr(value, "dtype", "")):
        return False
    try:
        index(value)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        return False
    return True


def _is_list(value: object) -> TypeGuard[Iterable[object]]:
    """Whether the value holds others that are no bytes; an array of no dimension holds none, though it has __iter__."""
    return isinstance(value, Iterable) and not isinstance(value, bytes | bytearray) and getattr(value, "ndim", 1) != 0


def _parse_mapping(item: Mapping[str, object]) -> Prompt:
    given = [key for key in CONTENTS if item.get(key) is not None]
    images = item.get("multi_modal_data")
    images = None if isinstance(images, Mapping) and not images else images
    if len(given) > 1:
        message = (
            f"a prompt has one of 'prompt', 'prompt_token_ids', 'data', 'messages'; got {', '.join(map(repr, given))}"
        )
        raise InvalidInputError(message, parameter="prompts")
    if "prompt_embeds" in item:
        message = "'prompt_embeds' is not supported: pass 'prompt' or 'prompt_token_ids'"
        raise InvalidInputError(message, parameter="prompts")
    if "data" in item and item["data"] is None:
        raise InvalidInputError(NO_DATA, parameter="data")
    if not given and images is None:
        message = f"expected {FORMS}; got a dict with the keys {sorted(map(str, item))}"
        raise InvalidInputError(message, parameter="prompts")
    own = (*OF_CHATS, PREFIX) if given == ["messages"] else ("add_special_tokens",)
    known = (*CONTENTS, *own, *sorted(EXTRAS))
    unknown = sorted(str(key) for key in item if key not in known and (key != BUDGET or given != ["messages"]))
    if unknown:
        message = f"a prompt has no field {unknown[0]!r}; it may have {', '.join(known)}"
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
    """What is asked of the images of a prompt; None for nothing."""
    given = item.get(IMAGE_OPTIONS)
    if given is None or isinstance(given, ImageOptions):
        return given
    if not isinstance(given, Mapping):
        message = f"'{IMAGE_OPTIONS}' must be a dict of options of images; got {type(given).__name__}"
        raise InvalidInputError(message, parameter=IMAGE_OPTIONS)
    return ImageOptions(given) if given else None


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
    flags = {name: item.get(name) or False for name in OF_CHATS[2:]}
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
