"""The chat template and special tokens of a checkpoint, read as data: no template is rendered here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.loading.files import read_object, read_text
from millpond.types.checkpoint import value_of
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.loading.repository import Repository

FLAT, STRUCTURED = "flat", "structured"  # the content of a message: a text, or a list of parts
PART_MARKERS = ("content[0]", ".type", "'type'", '"type"', "message.content[")  # in templates that read lists of parts
FLAT_MODEL_TYPES = ("apertus", "deepseek_v3", "gpt_oss", "seed_oss")  # templates read text despite such markers
SPECIAL_TOKEN_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A Jinja template that renders messages.

    Attributes:
        text: The template.
        settings: Variables that it is rendered with, such as ``add_generation_prompt``.
        texts_as: The format of the message that a plain text is wrapped in, "flat" or "structured"; None if plain
            texts are not wrapped in messages.
    """

    text: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    texts_as: str | None = None


def read_chat_template(repository: "Repository") -> ChatTemplate | None:
    """Read the template of a tokenizer: chat_template.jinja, else the one in tokenizer_config.json; None without one.

    Raises:
        CheckpointError: If a file is damaged.
    """
    folder = repository.transformer_path
    text = _text_of(folder, repository.tokenizer_config.get("chat_template"))
    if text is None:
        return None
    return ChatTemplate(
        text=text, settings=dict(repository.facts.text.template_settings), texts_as=_texts_as(repository, text)
    )


def _texts_as(repository: "Repository", template: str) -> str | None:
    """The format of the message that a text is wrapped in; None if the folder does not specify messages."""
    stated = value_of(repository.facts.text.message_format)
    if stated in (None, FLAT, STRUCTURED):
        return None if stated is None else str(stated)
    if repository.config.get("model_type") in FLAT_MODEL_TYPES:
        return FLAT
    return STRUCTURED if any(marker in template for marker in PART_MARKERS) else FLAT


def read_special_tokens(repository: "Repository") -> dict[str, str]:
    """Read the special tokens by role, such as ``{"pad_token": "[PAD]"}``.

    Raises:
        CheckpointError: If a file is damaged.
    """
    older = read_object(repository.transformer_path / "special_tokens_map.json")
    stated = {**older, **{name: value for name, value in repository.tokenizer_config.items() if value is not None}}
    tokens = {name: _content(stated.get(name)) for name in SPECIAL_TOKEN_KEYS}
    return {name: token for name, token in tokens.items() if token is not None}


def _text_of(folder: Path, stated: object) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return read_text(path)
        except ValueError as error:
            message = f"cannot read {path}: {error}"
            raise CheckpointError(message) from error
    if isinstance(stated, list):  # several named templates
        named = {item.get("name"): item.get("template") for item in stated if isinstance(item, Mapping)}
        stated = named.get("default")
    if stated is None:
        stated = read_object(folder / "chat_template.json").get("chat_template")
    return stated if isinstance(stated, str) else None


def _content(token: object) -> str | None:
    """The text of a token, which files store as a string or as an object with ``content``."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else None
