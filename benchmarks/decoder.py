"""Measure a decoder of the size of Qwen3-0.6B in float32 and bfloat16, compared with the class of transformers.

python benchmarks/decoder.py [--short] [--rounds N] [--texts N] [--output FOLDER]

The model has random parameters in bfloat16 and is written by transformers, whose class runs the batches described in
encoders.py. All contestants are loaded at the same time, which takes about 8 GiB of memory. Their memory in pages of
files (libraries, memory-mapped weights) is listed apart: processes share it, and the system can free it.
"""

from collections.abc import Mapping
from typing import Any

from contest import Contest, alternate
from contestants import BY_NAME, TRANSFORMERS, TRANSFORMERS_BFLOAT16
from embed_throughput import checked_cosines
from encoders import Family, random_model
from figures import quotients, rates
from settings import Result, Settings, new_result, read_settings, write
from workloads import prose

QWEN3: Mapping[str, Any] = {
    "vocab_size": 151_669,
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "dtype": "bfloat16",
}
FLOAT32 = {"dtype": "float32"}
MEANS = {"pooler_config": {"seq_pooling_type": "MEAN"}}  # the pooling of the engine for transformers
CONTESTANTS = (
    BY_NAME["millpond"].with_options({**FLOAT32, **MEANS}),
    BY_NAME["millpond-bfloat16"].with_options(MEANS),
    TRANSFORMERS.with_options(FLOAT32),
    TRANSFORMERS_BFLOAT16,
)
COMPARED_TEXTS = 10  # texts whose vectors are compared


def measure(settings: Settings) -> Result:
    """Load all contestants one after the other, then embed the texts in turns."""
    result = new_result(settings)
    workload = prose(settings.model.tokenizer, settings.count(60, 12))
    tokens = sum(workload.lengths)
    result |= {"workload": workload.name, "texts": len(workload.texts), "tokens": tokens}
    with Contest(settings.environments) as contest:
        model = random_model(settings.environments, Family("qwen3", QWEN3))
        contest.load(CONTESTANTS, model)
        result |= {**contest.describe(), "model": model.name}
        contest.set_workload(workload)
        agreement = checked_cosines(contest.vectors(workload, COMPARED_TEXTS), TRANSFORMERS.name)
        runs = alternate(contest.workers, settings.rounds, "run", "decoder", workload=workload.name)
        peaks = {name: worker.ask("memory")["peak"] for name, worker in contest.workers.items()}
    slowest = [run["cpu"] for run in runs[TRANSFORMERS.name]]
    result["rows"] = {
        name: {
            "load_seconds": result["contestants"][name]["seconds"],
            "loaded_mib": result["contestants"][name]["memory"]["now"],
            "files_mib": result["contestants"][name]["memory"]["files"],
            "load_peak_mib": result["contestants"][name]["memory"]["peak"],
            "peak_mib": peaks[name],
            "tokens_per_cpu_second": rates(tokens, [run["cpu"] for run in rounds]).as_dict(),
            "tokens_per_second": rates(tokens, [run["wall"] for run in rounds]).as_dict(),
            "times_as_fast": quotients(slowest, [run["cpu"] for run in rounds]).as_dict(),
            "cosine_to_reference": agreement[name],
        }
        for name, rounds in runs.items()
    }
    return result


if __name__ == "__main__":
    settings = read_settings("decoder", __doc__, short_rounds=2)
    write(measure(settings), settings)
