"""Export to a NumPy file: vectors, [num_rows, dim], in the order of the inputs."""

from pathlib import Path

import numpy as np

from millpond_jobs.exports.results import FIXED_SIZE, Results, check_new, vectors_of, write_ids
from millpond_storage.files import write_durably


def export(results: Results, location: str) -> None:
    """Write an ``.npy`` file, and the ids as ``.ids.jsonl`` beside it unless they are the row numbers.

    Raises:
        JobError: If the results have no column of one size, or the file exists.
    """
    column = results.require("npy", *FIXED_SIZE)
    path = check_new(Path(location))
    if results.has_ids or not results.has_all_rows:
        write_ids(results, path.with_suffix(".ids.jsonl"))

    def write(temporary: Path) -> None:
        stored = None
        row = 0
        for table in results.export_tables():
            vectors = vectors_of(table, column)
            if stored is None:
                shape = (results.rows, *vectors.shape[1:])
                stored = np.lib.format.open_memmap(temporary, mode="w+", dtype=vectors.dtype, shape=shape)
            stored[row : row + len(vectors)] = vectors
            row += len(vectors)
        if stored is not None:
            stored.flush()

    write_durably(path, write)
