"""Millpond's side of a comparison: the results of a loaded model, and its settings with the origin of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millpond.types.config import JOINED_BY
from millpond.types.params import PoolingParams
from millpond_command.progress import Progress, call_progress
from millpond_verify.kinds import EMBEDDINGS, SCORES, SPARSE, Kind
from millpond_verify.parts import Part, Results

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.model.layers import Layers
    from millpond.model.model_layers import ModelLayers

ORIGINS = {
    "user": "the command line",
    "default": "the default of Millpond",
    "task": "the default of the task",
    "architecture": "the architecture",
    "published model": "the settings published for this model",
}
NORMALIZES = "embedding.normalizes"
DENSE = "Dense"


@dataclass(frozen=True)
class SettingValue:
    """A setting of Millpond.

    Attributes:
        value: The value; None if it does not apply to the model.
        origin: The file or the rule that it comes from.
    """

    value: Any
    origin: str


def applies_activation(kind: Kind, layers: "Layers") -> bool:
    """Return True if results are compared as users receive them.

    Vectors are compared before normalization if no file specifies it: Millpond then normalizes, the reference does not.
    """
    if kind is EMBEDDINGS and layers.find(NORMALIZES) is None:
        return False
    return kind.has_activation


def run_part(llm: "LLM", kind: Kind, part: Part, *, use_activation: bool, progress: Progress) -> Results:
    """Return the results for a part; texts over the maximum length are truncated."""
    params = None if use_activation else PoolingParams(use_activation=False)
    options: dict[str, Any] = {"use_tqdm": call_progress(progress, len(part.inputs)), "pooling_params": params}
    options |= {} if part.has_images else {"truncate_prompt_tokens": -1}
    options |= {} if part.prompt_name is None else {"prompt_name": part.prompt_name}
    options |= {} if part.input_type is None else {"input_type": part.input_type}
    outputs: Any
    if kind is SCORES:
        queries, documents = zip(*part.data, strict=True)
        outputs = llm.score([*queries], [*documents], **options)
    elif kind is SPARSE:
        outputs = llm.embed_sparse(part.data, **options)
    else:
        prompts = [{"prompt": "", "multi_modal_data": {"image": it}} if part.has_images else it for it in part.data]
        outputs = llm.encode(prompts, pooling_task=kind.task, **options)
    arrays: list[Any] = [it.outputs.dense() if kind is SPARSE else it.outputs.array for it in outputs]
    return Results(arrays=arrays, token_ids=[it.prompt_token_ids for it in outputs])


def settings_of(layers: "ModelLayers", kind: Kind) -> Mapping[str, SettingValue]:
    """Return the settings that a reference of this kind may state, by the names of ``Settings``."""
    settings = {"max_length": _setting(layers, "max_model_len")}
    if kind in (EMBEDDINGS, SPARSE):
        settings |= _embedding_settings(layers)
    if kind.results in ("logits", "token logits", "scores"):
        settings["activation"] = _setting(layers, "classification.activation")
    if kind.results in ("logits", "token logits"):
        settings["labels"] = SettingValue(layers.model.labels, "config.json (id2label)")
    if kind in (EMBEDDINGS, SPARSE, SCORES):
        settings["dense"] = _dense(layers)
    return settings


def prompts_of(layers: "ModelLayers") -> Mapping[str, SettingValue]:
    """Return the prompts that are not empty, by name."""
    path, prompts = "prompting.prompts", layers.model.prompting.prompts
    return {name: SettingValue(text, _named(layers.origin(path, name))) for name, text in prompts.items() if text}


def _embedding_settings(layers: "ModelLayers") -> dict[str, SettingValue]:
    truncate_dim = layers.model.embedding.truncate_dim
    return {
        "pooling": _setting(layers, "pooler_config.seq_pooling_type", default_origin="task"),
        "normalize": _normalize(layers),
        "include_prompt": _setting(layers, "prompting.include_prompt", default=True),
        "similarity": _setting(layers, "embedding.similarity", default="cosine"),
        "truncate_dim": SettingValue(0, ORIGINS["default"])
        if truncate_dim is None
        else _setting(layers, "embedding.truncate_dim"),
    }


def _normalize(layers: "ModelLayers") -> SettingValue:
    path = "pooler_config.use_activation"
    if layers.get(path) is False:
        return _setting(layers, path)
    return _setting(layers, NORMALIZES, default=True, default_origin="task")


def _dense(layers: "ModelLayers") -> SettingValue:
    chain = layers.model.modules
    modules = [it for it in (*chain.before, *chain.after) if it.type == DENSE]
    stated = tuple(
        f"{it.config.get('in_features')} to {it.config.get('out_features')}, "
        f"{str(it.config.get('activation_function') or 'identity').rpartition('.')[2].lower()}"
        for it in modules
    )
    folder = layers.repository.path
    origins = [f"{it.path.relative_to(folder).as_posix()}/config.json" for it in modules]
    return SettingValue(stated, ", ".join(origins) or "modules.json")


def _setting(layers: "Layers", path: str, *, default: Any = None, default_origin: str = "default") -> SettingValue:
    layer = layers.find(path)
    if layer is None:
        return SettingValue(default, _named(default_origin))
    return SettingValue(layer.values[path], _named(layer.origin(path)))


def _named(origin: str) -> str:
    return ORIGINS.get(origin, origin)


def same_pooling(one: str, other: str) -> bool:
    """Return True if both name the same pooling types; their order is that of the files."""
    return sorted(one.split(JOINED_BY)) == sorted(other.split(JOINED_BY))
