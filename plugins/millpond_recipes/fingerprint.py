"""A fingerprint of everything that can change a result: recipe, model files, device, kernels, versions."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from millpond.loading.components import components, computing_entries
from millpond.loading.precision import in_mixed_precision
from millpond.plugin.blame import is_foreign
from millpond.plugin.kernels import OpContext, rank_kernels
from millpond_checkpoints.file_hashes import file_hash, file_hashes
from millpond_recipes.model_facts import ModelFacts, read_model_facts
from millpond_recipes.model_fingerprint import device_name, source_hash, versions
from millpond_recipes.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.plugin.registry import Entry
    from millpond.plugin.specs import KernelSpec

WITHOUT_EFFECT = ("on_error", "text_column", "query_column", "image_column", "id_column", "model", "revision")
EXECUTION_ARGS = (
    "num_workers",
    "cuda_graphs",
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_waiting_tokens",
    "enable_prefix_caching",
    "data_parallel_size",
    "data_parallel_backend",
    "devices",
    "hf_token",
    "download_dir",
    "cache",
    "cache_size",
)


def fingerprint_of(recipe: Recipe, facts: ModelFacts | None = None) -> str:
    """Return the SHA-256 of a recipe's results, in hexadecimal.

    Args:
        recipe: The recipe.
        facts: Its model, if it is resolved already.
    """
    facts = facts or read_model_facts(recipe)
    parts = {"recipe": json.dumps(_settings(recipe), sort_keys=True), **fingerprint_facts(facts, recipe.task)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fingerprint_facts(facts: ModelFacts, task: str) -> dict[str, str]:
    """Return what a result depends on beside the recipe, by name: files of the model, device, kernels, versions.

    Args:
        facts: The model of the recipe.
        task: The task of the recipe.
    """
    files = {f"file {name}": value for name, value in file_hashes(facts.layers.repository.path)}
    kernels = dict(_kernels(facts))
    entries = [*computing_entries(facts.layers), *_reading_entries(facts, task), *kernels.values()]
    return {
        **files,
        **_template_file(facts),
        "configuration": facts.layers.model.digest,
        "device": device_name(torch.device(facts.device)),
        **{f"kernel of {op}": "none" if entry is None else entry.qualified for op, entry in kernels.items()},
        **{f"version of {name}": it for name, it in versions()},
        **{f"code of the {it.label}": source_hash(it) for it in entries if it is not None and is_foreign(it)},
    }


def _reading_entries(facts: ModelFacts, task: str) -> "Iterator[Entry[Any]]":
    """Yield the records that read the prompts of a task: its IO processor, and the text steps of the model."""
    for _, entry in components(facts.layers):
        if entry.spec.kind == "text_step" or (entry.spec.kind == "io_processor" and task in entry.spec.tasks):
            yield entry


def _kernels(facts: ModelFacts) -> "Iterator[tuple[str, Entry[KernelSpec] | None]]":
    """Yield each op with the kernel that this machine prefers for it; None if no kernel fits."""
    compute, registry, device = facts.arguments.compute, facts.layers.registry, torch.device(facts.device)
    compute = replace(compute, batch_invariant=compute.batch_invariant or device.type == "cpu")
    dtype, compute = in_mixed_precision(registry, getattr(torch, facts.layers.model.dtype), device, compute)
    context = OpContext(
        device=device,
        dtype=dtype,
        quantization=compute.quantization,
        batch_invariant=compute.batch_invariant,
        kernels=compute.kernels,
    )
    for op in registry.kernels.grouped("op"):
        best = rank_kernels(registry, str(op), context)[0]
        yield str(op), best.entry if best.fits else None


def _template_file(facts: ModelFacts) -> dict[str, str]:
    """Return the hash of the file with the chat template; empty without one: a template's text is in the recipe."""
    template = facts.arguments.load.inputs.chat_template
    try:
        is_file = template is not None and Path(template).is_file()
    except (OSError, ValueError):  # the text of a template, which is not a valid path
        is_file = False
    return {f"file {template}": file_hash(Path(str(template)))} if is_file else {}


def _settings(recipe: Recipe) -> dict[str, object]:
    settings = {name: value for name, value in recipe.model_dump(mode="json").items() if name not in WITHOUT_EFFECT}
    settings["args"] = {name: value for name, value in recipe.args.items() if name not in EXECUTION_ARGS}
    return settings
