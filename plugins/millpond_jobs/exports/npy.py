"""Export to a NumPy file: vectors, [num_rows, dim], in the order of the inputs."""

from pathlib import Path

import numpy as np

from millpond_jobs.exports.results import (
    FIXED_SIZE,
    Results,
    check_new,
    stating_failures,
    vectors_of,
    write_ids,
    write_space,
)
from millpond_storage.files import write_durably


def export(results: Results, location: str) -> None:
    """Write an ``.npy`` file, and the ids as ``.ids.jsonl`` beside it unless they are the row numbers.

    The descriptor of the space of embeddings is written as ``.space.json`` beside it.

    Raises:
        JobError: If the results have no column of one size, or the file exists.
    """
    column = results.require("npy", *FIXED_SIZE)
    path = check_new(Path(location))

    def write(temporary: Path) -> None:
        # Written and not mapped into memory: on a full disk, a write to a mapped file ends the process.
        with temporary.open("wb") as file:
            for number, table in enumerate(results.export_tables()):
                vectors = vectors_of(table, column)
                if number == 0:
                    header = np.lib.format.header_data_from_array_1_0(vectors)
                    np.lib.format.write_array_header_1_0(file, header | {"shape": (results.rows, *vectors.shape[1:])})
                file.write(np.ascontiguousarray(vectors).data)
        if results.has_ids or not results.has_all_rows:
            write_ids(results, path.with_suffix(".ids.jsonl"))
        write_space(results, path)

    with stating_failures("write", path):
        write_durably(path, write)
