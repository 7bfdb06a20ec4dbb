"""The model of a wrapper: an `LLM`, its metadata for mteb, and the prompts in mteb's batches."""

# pyright: reportMissingImports=false
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mteb.models.model_meta import ModelMeta

from millpond import LLM

SNAPSHOTS = "snapshots"  # the folder of the hub's cache with one folder per commit
LOCAL = "local"  # mteb requires names with an organisation


def open_model(model: str | LLM, revision: str | None, device: str | None, options: Mapping[str, Any]) -> LLM:
    """Return the loaded model; an ``LLM`` is returned unchanged."""
    if isinstance(model, LLM):
        return model
    named: dict[str, Any] = {"revision": revision, "device": device}
    return LLM(model, **{name: value for name, value in named.items() if value is not None}, **options)


def model_meta(llm: LLM, name: str | None, revision: str | None, **fields: Any) -> ModelMeta:
    """Return the metadata of a model, under which mteb stores its results.

    Args:
        llm: The model.
        name: Its name as given by the caller; None or the path of a folder for ``local/`` and the name of the folder.
        revision: Its revision as given by the caller; None for the commit of a model from the hub.
        **fields: Other fields of ``ModelMeta``.
    """
    config = llm.model_config
    path = Path(config.identity.path)
    in_cache = path.parent.name == SNAPSHOTS
    if name is None or name.count("/") != 1 or Path(name).exists():
        name = (
            path.parents[1].name.removeprefix("models--").replace("--", "/", 1) if in_cache else f"{LOCAL}/{path.name}"
        )
    return ModelMeta.create_empty(
        overwrites={
            "name": name,
            "revision": path.name if revision is None and in_cache else revision,
            "max_tokens": config.max_model_len,
            "modalities": list(config.multimodal.modalities),
            "framework": ["PyTorch"],
            **fields,
        }
    )


def prompts_of(batches: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return the prompts of mteb's batches: texts, or dicts if the batches contain images."""
    return [prompt for batch in batches for prompt in _prompts_of_batch(batch)]


def _prompts_of_batch(batch: Mapping[str, Any]) -> list[Any]:
    if "image" not in batch:
        return list(batch["text"])
    images = [{"multi_modal_data": {"image": image}} for image in batch["image"]]
    if "text" not in batch:
        return images
    return [{"prompt": text, **image} for text, image in zip(batch["text"], images, strict=True)]
