"""The chat templates of tokenizers in transformers, read as data: no template is rendered here."""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from millpond.model.files import read_object, read_text
from millpond.model.spec import ChatTemplate
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.model.repository import Repository

DEFAULT, OF_PAIRS = "default", "reranker"  # the names of templates, of messages and of a query with a document
NAME = re.compile(r"[\w-]+")  # of a template in a separate file
ADDITIONAL = "additional_chat_templates"  # the folder of the other templates
MAX_NAMES = 20  # that an error lists
JINJA_MARKERS = ("{{", "{%")
FLAT_MODEL_TYPES = ("apertus", "deepseek_v3", "gpt_oss", "seed_oss")  # templates read text despite such markers


def read_chat_template(repository: "Repository", *, of_pairs: bool = False) -> ChatTemplate | None:
    """Read the template of a tokenizer: chat_template.jinja, else the one in tokenizer_config.json; None without one.

    A folder with several templates has files in additional_chat_templates/, or a list in tokenizer_config.json, and
    may name one of them in the settings.

    Args:
        repository: The model's files.
        of_pairs: True to prefer the template named "reranker", with an assistant's turn, which answers, at its end.

    Raises:
        CheckpointError: If a file is damaged, or the folder lacks the named template.
    """
    folder, stated = repository.transformer_path, repository.reader.tokenizer_config.get("chat_template")
    settings = dict(repository.layers.get("text.template_settings", {}))
    chosen = settings.pop("chat_template", None)
    text = None if chosen is None else _named(folder, stated, str(chosen))
    if chosen is not None and text is None:
        available = ", ".join(map(repr, _names(folder, stated))) or "none"
        message = f"Unknown chat template {chosen!r} in the settings of {folder}. Available: {available}"
        raise CheckpointError(message)
    if text is None and of_pairs:
        text = _named(folder, stated, OF_PAIRS)
        settings = settings if text is None else {"add_generation_prompt": True, **settings}
    text = _text_of(folder, stated) if text is None else text
    if text is None:
        return None
    template = ChatTemplate(text=text, settings=settings)
    return replace(template, texts_as=_texts_as(repository, template))


def _texts_as(repository: "Repository", template: ChatTemplate) -> str | None:
    """The format of the message that a text is wrapped in; None if the folder does not specify messages."""
    stated = repository.layers.get("text.message_format")
    if stated in (None, "flat", "structured"):
        return None if stated is None else str(stated)
    reads_text = repository.config.get("model_type") in FLAT_MODEL_TYPES
    return "structured" if template.reads_parts and not reads_text else "flat"


def _named(folder: Path, stated: object, name: str) -> str | None:
    """The template of a name, in its own file or in tokenizer_config.json, or written out in place of a name."""
    if any(marker in name for marker in JINJA_MARKERS):
        return name
    if name == DEFAULT:
        return _text_of(folder, stated)
    path = folder / ADDITIONAL / f"{name}.jinja"
    if NAME.fullmatch(name) and path.exists():
        return _read(path)
    text = _listed(stated).get(name)
    return text if isinstance(text, str) else None


def _names(folder: Path, stated: object) -> list[str]:
    """The names of all templates."""
    files = islice((folder / ADDITIONAL).glob("*.jinja"), MAX_NAMES)
    default = [] if _text_of(folder, stated) is None else [DEFAULT]
    return sorted({*default, *map(str, _listed(stated)), *(path.stem for path in files)})


def _text_of(folder: Path, stated: object) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        return _read(path)
    if isinstance(stated, list):
        stated = _listed(stated).get(DEFAULT)
    if stated is None:
        stated = read_object(folder / "chat_template.json").get("chat_template")
    return stated if isinstance(stated, str) else None


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except ValueError as error:
        message = f"cannot read {path}: {error}"
        raise CheckpointError(message) from error


def _listed(stated: object) -> dict[object, object]:
    """The templates of tokenizer_config.json by name, if it lists several."""
    items = stated if isinstance(stated, list) else []
    return {item.get("name"): item.get("template") for item in items if isinstance(item, Mapping)}
