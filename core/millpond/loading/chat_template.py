"""What a checkpoint says of its chat template and of the special tokens that templates name. Data: nothing is run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.loading.files import read_object
from millpond.types.checkpoint import value_of
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.loading.repository import Repository

FLAT, STRUCTURED = "flat", "structured"  # the content of a message: a text, or a list of parts
OF_PARTS = ("content[0]", ".type", "'type'", '"type"', "message.content[")  # in templates that read lists of parts
FLAT_MODELS = ("apertus", "deepseek_v3", "gpt_oss", "seed_oss")  # whose templates read texts, whatever they contain
NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A template of messages, in Jinja.

    Attributes:
        text: The template.
        settings: Variables that it is rendered with, such as ``add_generation_prompt``.
        texts_as: Content of the message that a plain text becomes, "flat" or "structured", where the
            files have texts written as messages; None where they are read as they are.
    """

    text: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    texts_as: str | None = None


def read_chat_template(repository: "Repository") -> ChatTemplate | None:
    """The template beside a tokenizer: chat_template.jinja, else the one in tokenizer_config.json; None for none.

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
    """The content of the message that a text becomes; None where the folder does not ask for messages."""
    stated = value_of(repository.facts.text.message_format)
    if stated in (None, FLAT, STRUCTURED):
        return None if stated is None else str(stated)
    if repository.config.get("model_type") in FLAT_MODELS:
        return FLAT
    return STRUCTURED if any(mark in template for mark in OF_PARTS) else FLAT


def read_special_tokens(repository: "Repository") -> dict[str, str]:
    """The special tokens by their roles, such as ``{"pad_token": "[PAD]"}``.

    Raises:
        CheckpointError: If a file is damaged.
    """
    older = read_object(repository.transformer_path / "special_tokens_map.json")
    said = {**older, **{name: value for name, value in repository.tokenizer_config.items() if value is not None}}
    found = {name: _content(said.get(name)) for name in NAMES}
    return {name: token for name, token in found.items() if token is not None}


def _text_of(folder: Path, stated: object) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            message = f"cannot read {path}: {error}"
            raise CheckpointError(message) from error
    if isinstance(stated, list):  # several, by name
        named = {one.get("name"): one.get("template") for one in stated if isinstance(one, Mapping)}
        stated = named.get("default")
    if stated is None:
        stated = read_object(folder / "chat_template.json").get("chat_template")
    return stated if isinstance(stated, str) else None


def _content(token: object) -> str | None:
    """A token as files have it: text, or an object that holds its text."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else None
