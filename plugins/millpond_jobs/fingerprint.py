"""A fingerprint of everything that can change a result: recipe, model files, device, kernels, versions."""

import hashlib
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch

from millpond.types.errors import CheckpointError
from millpond_jobs.model_facts import ModelFacts, read_model_facts
from millpond_jobs.recipe import Recipe

COMPUTING_PACKAGES = ("millpond", "numpy", "tokenizers", "torch")
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pt", ".npz", ".npy"}
IGNORED_SUFFIXES = {".md", ".lock", ".png", ".jpg", ".onnx", ".gguf", ".h5", ".msgpack", ".ot"}
SAMPLES_PER_FILE = 256
SAMPLE_BYTES = 16_384
WITHOUT_EFFECT = ("on_error", "text_column", "query_column", "image_column", "id_column", "model", "revision")
EXECUTION_ARGS = (
    "num_workers",
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_waiting_tokens",
    "hf_token",
    "download_dir",
)


def fingerprint_of(recipe: Recipe, facts: ModelFacts | None = None) -> str:
    """Return the SHA-256 of a recipe's results, in hexadecimal.

    Args:
        recipe: The recipe.
        facts: Its model, if it is resolved already.
    """
    facts = facts or read_model_facts(recipe)
    parts = {"recipe": json.dumps(_settings(recipe), sort_keys=True), **fingerprint_facts(facts)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fingerprint_facts(facts: ModelFacts) -> dict[str, str]:
    """Return what a result depends on beside the recipe, by name: files of the model, device, versions."""
    files = {f"file {name}": value for name, value in file_hashes(facts.resolution.repository.path)}
    return {
        **files,
        "device": device_name(facts.device),
        **{f"version of {name}": it for name, it in versions().items()},
    }


def _settings(recipe: Recipe) -> dict[str, object]:
    settings = {name: value for name, value in recipe.model_dump(mode="json").items() if name not in WITHOUT_EFFECT}
    settings["args"] = {name: value for name, value in recipe.args.items() if name not in EXECUTION_ARGS}
    return settings


def versions() -> dict[str, str]:
    """Return the versions of the packages that compute results."""
    return {name: metadata.version(name) for name in COMPUTING_PACKAGES}


def device_name(kind: str) -> str:
    """Return the processor's instruction set or the GPU's name: results differ by rounding between them."""
    if kind == "cuda":
        return f"cuda:{torch.cuda.get_device_name()}"
    return f"{kind}:{torch.backends.cpu.get_cpu_capability()}"


def file_hashes(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the hash of each file of a model that can change its results.

    Files of weights are hashed by their size, their first bytes (the header of safetensors) and samples of their data
    at even distances: reading all of a large model at each start would take longer than many jobs.

    Raises:
        CheckpointError: If a file cannot be read.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(".") or path.suffix in IGNORED_SUFFIXES or not path.is_file():
            continue
        try:
            yield name, sampled_hash(path) if path.suffix in WEIGHT_SUFFIXES else file_hash(path)
        except OSError as error:
            raise CheckpointError(f"Cannot read {path}: {error.strerror or error}.") from error


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sampled_hash(path: Path) -> str:
    """Return a SHA-256 of a large file's size, header and samples."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    step = max(size // SAMPLES_PER_FILE, SAMPLE_BYTES)
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little") if path.suffix == ".safetensors" else 0
        file.seek(0)
        digest.update(file.read(min(header_bytes + 8, size)))
        for offset in range(0, size, step):
            file.seek(offset)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
