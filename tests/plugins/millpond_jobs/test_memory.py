"""The memory of a job does not grow with the number of rows."""

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PEAK = """
import resource, sys
from millpond_jobs import Recipe, run
source, folder, model = sys.argv[1:]
run(source, folder, Recipe(model=model, id_column="id"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
ROW_GROUP = 100_000  # larger than a shard: it must not be read at once


def write_rows(path, count):
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, ROW_GROUP):
            numbers = range(start, min(start + ROW_GROUP, count))
            texts = [f"the cat {number}" for number in numbers]
            writer.write_table(pa.table([numbers, texts], schema=schema), row_group_size=ROW_GROUP)


def peak(path, folder, model):
    """Return the peak of the resident memory of a job, in KiB."""
    command = [sys.executable, "-c", PEAK, str(path), str(folder), str(model)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs ru_maxrss in KiB")
def test_five_times_as_many_rows_need_the_same_memory(bert, tmp_path):
    peaks = []
    for count in (20_000, 100_000):
        write_rows(tmp_path / f"{count}.parquet", count)
        peaks.append(peak(tmp_path / f"{count}.parquet", tmp_path / f"out-{count}", bert))
    assert peaks[1] <= 1.3 * peaks[0], peaks
