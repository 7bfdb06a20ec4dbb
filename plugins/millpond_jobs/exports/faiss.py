"""Export to a FAISS index with exact search by inner product. Needs faiss-cpu."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from millpond_jobs.errors import JobError
from millpond_jobs.exports.results import (
    ID,
    VECTOR,
    Results,
    check_ids,
    check_new,
    library,
    stating_failures,
    vectors_of,
    write_ids,
    write_space,
)
from millpond_storage.files import write_durably

if TYPE_CHECKING:
    from numpy.typing import NDArray


def export(results: Results, location: str) -> None:
    """Write an index.

    Its ids are those of the inputs if they are integers; else they are positions, and the ids are lines of the file
    ``.ids.jsonl`` beside the index. Bits become a binary index, which searches by Hamming distance.

    Raises:
        JobError: If the results are not vectors, an id is missing, the file exists, or faiss is not installed.
    """
    faiss = library("faiss", "faiss")
    column = results.require("faiss", VECTOR)
    path = check_new(Path(location))
    has_numbers = results.manifest.id_type == "int64" and (results.has_ids or not results.has_all_rows)
    if has_numbers:
        check_ids(results, "FAISS")
    index, add = _new_index(faiss, results, column, with_ids=has_numbers)
    for table in results.export_tables():
        vectors: NDArray[Any] = np.ascontiguousarray(vectors_of(table, column).astype(index_dtype(results), copy=False))
        add(vectors, table.column(ID).to_numpy())
    write_index = faiss.write_index_binary if is_binary(results) else faiss.write_index

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # faiss ignores errors when it closes a file, such as of a full disk
            write_index(index, faiss.PyCallbackIOWriter(file.write))
        if not has_numbers and results.has_ids:
            write_ids(results, path.with_suffix(".ids.jsonl"))
        write_space(results, path)

    with stating_failures("write", path):
        write_durably(path, write)


def is_binary(results: Results) -> bool:
    """True for vectors of bits."""
    return results.manifest.recipe.embed_dtype == "ubinary"


def index_dtype(results: Results) -> type:
    """Return the type of numbers that the index stores."""
    return np.uint8 if is_binary(results) else np.float32


def _new_index(faiss: Any, results: Results, column: str, *, with_ids: bool) -> tuple[Any, Any]:
    """Return an index, and its function to add vectors with ids."""
    if results.manifest.recipe.embed_dtype == "binary":
        message = "FAISS cannot store vectors of embed_dtype 'binary': compute the job with embed_dtype 'ubinary'"
        raise JobError(message)
    size = results.schema.field(column).type.list_size
    flat = faiss.IndexBinaryFlat(8 * size) if is_binary(results) else faiss.IndexFlatIP(size)
    if not with_ids:
        return flat, lambda vectors, _: flat.add(vectors)
    mapped = faiss.IndexBinaryIDMap2(flat) if is_binary(results) else faiss.IndexIDMap2(flat)
    return mapped, mapped.add_with_ids
