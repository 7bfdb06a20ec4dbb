"""Millpond's side of a comparison: the results of a loaded model, and its settings with the origin of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millpond.types.checkpoint import value_of
from millpond.types.config import JOINED_BY, Choice
from millpond.types.params import PoolingParams
from millpond_command.call_progress import call_progress
from millpond_command.progress import Progress
from millpond_verify.kinds import EMBEDDINGS, SCORES, SPARSE, Kind
from millpond_verify.parts import Part, Results

if TYPE_CHECKING:
    from millpond.llm import LLM
    from millpond.loading.resolution import Resolution

ORIGINS = {
    "user": "the command line",
    "default": "the default of Millpond",
    "task": "the default of the task",
    "architecture": "the architecture",
}
PUBLISHED = "the settings published for this model"
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


def applies_activation(kind: Kind, resolution: "Resolution") -> bool:
    """Return True if results are compared as users receive them.

    Vectors are compared before normalization if no file specifies it: Millpond then normalizes, the reference does not.
    """
    if kind is EMBEDDINGS and resolution.facts.pooling.normalize is None:
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


def settings_of(resolution: "Resolution", kind: Kind) -> Mapping[str, SettingValue]:
    """Return the settings that a reference of this kind may state, by the names of ``Settings``."""
    settings = {"max_length": _setting(resolution.max_model_len)}
    if kind in (EMBEDDINGS, SPARSE):
        settings |= _embedding_settings(resolution)
    if kind.results in ("logits", "token logits", "scores"):
        settings["activation"] = _setting(resolution.classifier_activation)
    if kind.results in ("logits", "token logits"):
        settings["labels"] = SettingValue(resolution.model_config().labels, "config.json (id2label)")
    if kind in (EMBEDDINGS, SPARSE, SCORES):
        settings["dense"] = _dense(resolution)
    return settings


def prompts_of(resolution: "Resolution") -> Mapping[str, SettingValue]:
    """Return the prompts that are not empty, by name."""
    stated = resolution.facts.prompts.named
    from_files: Mapping[str, str] = value_of(stated, {})
    return {
        name: SettingValue(text, stated.origin if stated is not None and name in from_files else PUBLISHED)
        for name, text in resolution.prompts.items()
        if text
    }


def _embedding_settings(resolution: "Resolution") -> dict[str, SettingValue]:
    facts = resolution.facts
    pooling = resolution.pooler.get("seq_pooling_type", Choice(value=None, origin="task"))
    include = facts.pooling.include_prompt or Choice(value=True, origin="default")
    return {
        "pooling": _setting(pooling),
        "normalize": _normalize(resolution),
        "include_prompt": _setting(include),
        "similarity": _setting(resolution.similarity),
        "truncate_dim": _setting(resolution.truncate_dim or Choice(value=0, origin="default")),
    }


def _normalize(resolution: "Resolution") -> SettingValue:
    stated = resolution.facts.pooling.normalize
    use_activation = resolution.pooler.get("use_activation")
    if use_activation is not None and not use_activation.value:
        return _setting(Choice(value=False, origin=use_activation.origin))
    return _setting(stated or Choice(value=True, origin="task"))


def _dense(resolution: "Resolution") -> SettingValue:
    chain = resolution.facts.modules
    modules = [it for it in (*chain.before, *chain.after) if it.type == DENSE]
    layers = tuple(
        f"{it.config.get('in_features')} to {it.config.get('out_features')}, "
        f"{str(it.config.get('activation_function') or 'identity').rpartition('.')[2].lower()}"
        for it in modules
    )
    folder = resolution.repository.path
    origins = [f"{it.path.relative_to(folder).as_posix()}/config.json" for it in modules]
    return SettingValue(layers, ", ".join(origins) or "modules.json")


def _setting(choice: Choice) -> SettingValue:
    return SettingValue(choice.value, ORIGINS.get(choice.origin, choice.origin))


def same_pooling(one: str, other: str) -> bool:
    """Return True if both name the same pooling types; their order is that of the files."""
    return sorted(one.split(JOINED_BY)) == sorted(other.split(JOINED_BY))
