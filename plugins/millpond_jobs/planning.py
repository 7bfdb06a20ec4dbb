"""The plan of a job: input files with their hashes, and shards that take some tens of seconds each."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from millpond_checkpoints.file_hashes import file_hash
from millpond_checkpoints.space import Space, space_of
from millpond_jobs.folder.manifest import InputFile, Manifest, PlannedShard
from millpond_jobs.shards import BYTES_PER_TOKEN, ShardBudget, cut_into_shards
from millpond_recipes.errors import InputError, RecipeError
from millpond_recipes.fingerprint import fingerprint_facts, fingerprint_of
from millpond_recipes.model_facts import ModelFacts
from millpond_recipes.recipe import Recipe
from millpond_recipes.rows import Place, check_schema, is_text, value_type
from millpond_recipes.sources.files import InputFormat, InputName, find_inputs, reading, state_of

EMBEDDING_TASKS = ("embed", "token_embed", "embed_sparse")
SHARD_FLOP = {"cpu": 3e12, "cuda": 6e14}  # about 25 s on two cores, and on one GPU
MAX_SHARD_ROWS = 8192
TOKEN_LEVEL_TASKS = ("token_embed", "token_classify")
TOKEN_LEVEL_DIVISOR = 4  # a vector per token: results are as large as hidden states
TOKENS_PER_IMAGE = 256
IdType = Literal["int64", "string"]


def plan_job(
    recipe: Recipe,
    sources: Sequence[str | Path],
    facts: ModelFacts,
    *,
    shard_rows: int | None = None,
    unique_ids: bool = True,
) -> Manifest:
    """Read the inputs once and divide them into shards.

    Args:
        recipe: The computation.
        sources: Paths, patterns, folders.
        facts: The resolved model.
        shard_rows: The maximum number of rows of a shard; None for `MAX_SHARD_ROWS`.
        unique_ids: Refuse inputs in which two rows have one id.

    Raises:
        InputError: If a file is missing, cannot be read, lacks a column, contains an id twice, or is being written.
    """
    names = find_inputs(sources)
    stats = [_stat(name.path) for name in names]
    files = [name.open(recipe.input_columns) for name in names]
    id_type = _common_id_type(recipe, names, files)
    budget = shard_budget(recipe, facts, shard_rows)
    plan = [
        [PlannedShard(start=it.start, rows=it.rows, position=it.position, offset=it.offset) for it in shards]
        for shards in (cut_into_shards(number, _places(recipe, file), budget) for number, file in enumerate(files))
    ]
    if unique_ids and recipe.id_column is not None:
        _check_unique(recipe.id_column, names)
    inputs = [
        describe_input(name, sum(it.rows for it in shards), stat)
        for name, shards, stat in zip(names, plan, stats, strict=True)
    ]
    manifest = Manifest(
        id="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe=recipe.stored(),
        fingerprint=fingerprint_of(recipe, facts),
        facts=fingerprint_facts(facts, recipe.task),
        id_type=id_type,
        inputs=inputs,
        plan=plan,
        space=None if recipe.task not in EMBEDDING_TASKS else job_space(recipe, facts).descriptor,
    )
    return manifest.model_copy(update={"id": manifest.identity()})


def job_space(recipe: Recipe, facts: ModelFacts) -> Space:
    """Return the space of a job's embeddings.

    Raises:
        RecipeError: If its task has other results.
    """
    if recipe.task not in EMBEDDING_TASKS:
        message = f"expect_space: the task {recipe.task!r} has no embeddings. Available: {', '.join(EMBEDDING_TASKS)}"
        raise RecipeError(message)
    return space_of(facts.layers.model, facts.arguments.load.inputs).of_call(dimensions=recipe.dimensions)


def shard_budget(recipe: Recipe, facts: ModelFacts, shard_rows: int | None = None) -> ShardBudget:
    """Return the limits of a shard. They depend on the model and the kind of device only, not on measured speed."""
    tokens = int(
        SHARD_FLOP.get(facts.device, SHARD_FLOP["cuda"]) / (2 * encoder_parameters(facts.layers.model.hf_config))
    )
    if recipe.task in TOKEN_LEVEL_TASKS:
        tokens //= TOKEN_LEVEL_DIVISOR
    return ShardBudget(max(1, tokens), shard_rows or MAX_SHARD_ROWS)


def encoder_parameters(config: Any) -> int:
    """Return about how many parameters each token passes: 12 hidden_size^2 per layer, as in BERT."""
    inner = config.get("text_config") or config
    hidden = inner.get("hidden_size") or inner.get("d_model") or inner.get("dim") or 768
    layers = inner.get("num_hidden_layers") or inner.get("num_layers") or inner.get("n_layers") or 12
    return 12 * int(layers) * int(hidden) ** 2


def describe_input(name: InputName, rows: int, before: os.stat_result) -> InputFile:
    """Return what identifies the content of an input file.

    Args:
        name: The file.
        rows: The number of its rows.
        before: Its state before its rows were counted.

    Raises:
        InputError: If it cannot be read, or was written since then: later rows would be left out silently.
    """
    with reading(name.path):
        sha256 = file_hash(name.path)
    after = _stat(name.path)
    if state_of(after) != state_of(before):
        message = f"{name.path} was changed while the job was planned: wait until it is complete, and run the job again"
        raise InputError(message)
    return InputFile(
        path=str(name.path),
        format=name.format,
        compression=name.compression,
        size=before.st_size,
        mtime_ns=before.st_mtime_ns,
        ctime_ns=before.st_ctime_ns,
        sha256=sha256,
        rows=rows,
    )


def _stat(path: Path) -> os.stat_result:
    with reading(path):
        return path.stat()


def _places(recipe: Recipe, file: InputFormat) -> Iterator[Place]:
    if recipe.image_column is None:
        return file.places()
    size = TOKENS_PER_IMAGE * BYTES_PER_TOKEN
    return (it._replace(size=max(it.size, size)) for it in file.places())


def _common_id_type(recipe: Recipe, names: Sequence[InputName], files: Sequence[InputFormat]) -> IdType:
    """Check the columns of all files, and return the type of their ids."""
    types: dict[IdType, Path] = {}
    for name, file in zip(names, files, strict=True):
        schema = file.schema()
        check_schema(schema, recipe, str(name.path))
        kind = None if recipe.id_column is None else schema.field(recipe.id_column).type
        if kind is not None and not pa.types.is_null(kind):  # such as that of an empty file
            types.setdefault(_id_type(value_type(kind), name.path, recipe.id_column), name.path)
    if len(types) > 1:
        described = " and ".join(f"{kind} in {path}" for kind, path in types.items())
        message = f"the ids in column {recipe.id_column!r} have different types: {described}"
        raise InputError(message)
    if types:
        return next(iter(types))
    return "int64" if recipe.id_column is None else "string"


def _id_type(kind: pa.DataType, path: Path, column: str | None) -> IdType:
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return "int64"
    if is_text(kind):
        return "string"
    message = f"{path}: the column {column!r} contains {kind}; ids must be integers or texts"
    raise InputError(message)


def _check_unique(column: str, names: Sequence[InputName]) -> None:
    """Compare 64-bit hashes of all ids, which needs 8 bytes per row, then the ids of equal hashes themselves.

    Raises:
        InputError: Names an id that occurs twice, with its rows.
    """
    hashes = np.fromiter((hash(it) for name in names for it in _values(name, column) if it is not None), np.int64)
    hashes.sort()
    repeated = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not repeated:
        return
    first: dict[object, str] = {}
    for name in names:
        for row, value in enumerate(_values(name, column)):
            if value is None or hash(value) not in repeated:
                continue
            position = f"row {row} of {name.path.name}"
            if value in first:
                message = (
                    f"the id {value!r} occurs twice: in {first[value]} and {position} (counted from 0); "
                    "make ids unique, or pass --allow-duplicate-ids (allow_duplicate_ids=True)"
                )
                raise InputError(message)
            first[value] = position


def _values(name: InputName, column: str) -> Iterator[Any]:
    """Yield the values of one column of a file; None for those that are null or cannot be read."""
    return (value for rows in name.open((column,)).blocks() for value in rows.columns[column])
