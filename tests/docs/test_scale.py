"""The tables of docs/explanation/scale.md are printed by its program, from the speeds that were published."""

import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "explanation" / "scale.md").read_text(encoding="utf-8")
FIGURES = REPOSITORY / "benchmarks" / "published" / "avx512-vnni" / "embed_throughput.json"
PUBLISHED = json.loads(FIGURES.read_text(encoding="utf-8"))
MODELS = {"MiniLM-L6": "MiniLM-L6", "BERT-base": "BERT-base-sized, random weights"}
CONTESTANTS = {"float32": "millpond", "int8": "millpond-int8"}
TOLERANCE = 0.15  # new measurements need not change the page


@pytest.fixture(scope="module")
def program():
    """Run the blocks, and return their names and what each printed."""
    names, printed = {}, []
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        with redirect_stdout(StringIO()) as output:
            exec(block, names)
        printed.append(output.getvalue())
    return names, printed


def test_tables_are_those_that_the_program_prints(program):
    shown = re.findall(
        r"^<!-- printed: \d -->\n\|[^\n]*\n\|[-:|]+\|\n(.*?)^<!-- end -->$", PAGE, re.MULTILINE | re.DOTALL
    )
    assert len(shown) == 4
    assert shown == program[1]


def published(model):
    (comparison,) = [it for it in PUBLISHED["comparisons"] if it["workload"] == "W2" and it["model"] == MODELS[model]]
    return comparison


def test_speeds_are_the_published_ones(program):
    cores = PUBLISHED["machine"]["cores"]
    for (model, dtype), speed in program[0]["SPEEDS"].items():
        comparison = published(model)
        texts = comparison["rows"][CONTESTANTS[dtype]]["texts_per_second"]["median"]
        measured = texts * comparison["tokens"] / comparison["texts"] / cores
        assert speed == pytest.approx(measured, rel=TOLERANCE), (model, dtype)


def test_work_per_token_is_the_published_one(program):
    for model, flop in program[0]["FLOP_PER_TOKEN"].items():
        comparison = published(model)
        row = comparison["rows"]["millpond"]
        texts = row["texts_per_cpu_second"]["median"]
        measured = row["gflop_per_cpu_second"]["median"] * 1e9 / (texts * comparison["tokens"] / comparison["texts"])
        assert flop == pytest.approx(measured, rel=0.02), model


def test_size_of_shards_is_that_of_jobs(program):
    from millpond_jobs.planning import MAX_SHARD_ROWS, SHARD_FLOP

    assert (program[0]["FLOP_PER_SHARD"], program[0]["MAX_ROWS"]) == (SHARD_FLOP["cpu"], MAX_SHARD_ROWS)
