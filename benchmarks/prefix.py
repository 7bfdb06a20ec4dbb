"""Measure a rerank with a decoder, with and without sharing the tokens with which its pairs begin.

python benchmarks/prefix.py [--short] [--documents N] [--rounds N] [--dtype DTYPE] [--folder FOLDER] [--json]

The model has the size of Qwen3-Reranker-0.6B, with random weights and MiniLM's tokenizer, whose smaller vocabulary does
not change the computation of a token. Each pair is formatted with the model's template: system message, instruction and
query, then a document of 64 or 256 tokens. Both configurations load the same weights and alternate in each round.
As a control, the table shows by how much the logits change if one word of the query changes: the prefix must matter.
"""

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from environments import default_folder
from figures import Spread, quotients
from machine import describe_machine
from models import SEED, TOKENIZER_FILES, atomic_folder, minilm
from numpy.typing import NDArray
from workloads import of_length

from millpond import LLM, PoolingParams

QUERY = "how does a function return more than one value to its caller?"
OTHER_QUERY = QUERY.replace("one", "two")
DOCUMENT_TOKENS = (64, 256)
SHORT_LAYERS = 4
QWEN3_06B: Mapping[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "hidden_act": "silu",
    "attention_bias": False,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
}
SHARED, SEPARATE = "shared prefix", "each pair alone"
LOGITS = PoolingParams(use_activation=False)


def checkpoint(folder: Path, config: Mapping[str, Any]) -> Path:
    """Return the folder of a model with random weights, created once; its name selects the template of the pairs."""
    layers = config["num_hidden_layers"]
    target = folder / "models" / f"Qwen3-Reranker-0.6B-random-{layers}-layers"
    if not target.exists():
        from millpond.testing import checkpoints  # noqa: PLC0415  imports torch; only needed to create the model
        from millpond_models.testing.decoders import decoder_shapes  # noqa: PLC0415  as above

        source = minilm()
        complete = {**config, "vocab_size": source.tokenizer.get_vocab_size()}
        with atomic_folder(target) as draft:
            checkpoints.write_config(draft, complete)
            checkpoints.write_weights(draft, checkpoints.random_tensors(decoder_shapes(complete), seed=SEED))
            for name in TOKENIZER_FILES:
                if (source.folder / name).exists():
                    shutil.copy(source.folder / name, draft / name)
    return target


def rerank(llm: LLM, documents: Sequence[str], query: str = QUERY) -> dict[str, Any]:
    """Rerank documents, and return the logits, the seconds, and the numbers of tokens."""
    stats = llm._engine.stats  # noqa: SLF001  LLM has no public counters
    tokens, shared_tokens = stats.tokens, stats.shared_tokens
    cpu, wall = time.process_time(), time.perf_counter()
    outputs = llm.score(query, list(documents), pooling_params=LOGITS, use_tqdm=False)
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "tokens": stats.tokens - tokens,
        "computed": stats.tokens - tokens - (stats.shared_tokens - shared_tokens),
        "logits": np.array([output.outputs.score for output in outputs]),
    }


def relative_difference(logits: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Return the largest difference of two lists of logits, relative to the largest logit."""
    return float(np.abs(logits - expected).max() / np.abs(expected).max())


def compare(models: Mapping[str, LLM], documents: Sequence[str], rounds: int) -> dict[str, Any]:
    """Rerank in turns with both configurations, after one rerank that fills caches."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in models}
    for llm in models.values():
        rerank(llm, documents[:2])
    for _ in range(rounds):
        for name, llm in models.items():
            runs[name].append(rerank(llm, documents))
    logits = {name: measured[0]["logits"] for name, measured in runs.items()}
    control = rerank(models[SEPARATE], documents, OTHER_QUERY)["logits"]
    seconds = {clock: {name: [run[clock] for run in runs[name]] for name in models} for clock in ("cpu", "wall")}
    return {
        "relative_difference": relative_difference(logits[SHARED], logits[SEPARATE]),
        "relative_difference_of_other_query": relative_difference(control, logits[SEPARATE]),
        "speedup": {clock: quotients(values[SEPARATE], values[SHARED]).as_dict() for clock, values in seconds.items()},
        "rows": {
            name: {
                "tokens": measured[0]["tokens"],
                "computed": measured[0]["computed"],
                **{clock: Spread.of(seconds[clock][name]).as_dict() for clock in seconds},
            }
            for name, measured in runs.items()
        },
    }


def measure(options: argparse.Namespace, config: Mapping[str, Any] = QWEN3_06B) -> dict[str, Any]:
    """Compare both configurations for each length of documents."""
    layers = SHORT_LAYERS if options.short else config["num_hidden_layers"]
    folder = str(checkpoint(options.folder, {**config, "num_hidden_layers": layers}))
    arguments: dict[str, Any] = {"dtype": options.dtype}
    result: dict[str, Any] = {"machine": describe_machine(), "layers": layers, "documents": options.documents}
    with LLM(folder, **arguments) as shared, LLM(folder, enable_prefix_caching=False, **arguments) as separate:
        models = {SHARED: shared, SEPARATE: separate}
        for tokens in DOCUMENT_TOKENS:
            texts = of_length(minilm().tokenizer, options.documents, tokens).texts
            result[f"{tokens} tokens"] = compare(models, texts, options.rounds)
    return result


def table(result: Mapping[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    machine = result["machine"]
    documents, layers = result["documents"], result["layers"]
    caption = f"{machine['processor']}, {machine['cores']} cores, revision {machine['revision']}; "
    lines = [
        f"{caption}{documents} documents, {layers} layers",
        "",
        "| documents of | | tokens | computed | CPU s | wall s | speedup | logits differ by | other query |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for tokens in DOCUMENT_TOKENS:
        comparison = result[f"{tokens} tokens"]
        for name, row in comparison["rows"].items():
            cpu, wall = (f"{row[c]['median']:.2f} [{row[c]['low']:.2f}-{row[c]['high']:.2f}]" for c in ("cpu", "wall"))
            speedup, difference = comparison["speedup"]["cpu"]["median"], comparison["relative_difference"]
            control = f"{comparison['relative_difference_of_other_query']:.1g}"
            ratios = f"{speedup:.2f} | {difference:.1g} | -" if name == SHARED else f"1.00 | - | {control}"
            lines.append(
                f"| {tokens} tokens | {name} | {row['tokens']:,} | {row['computed']:,} | {cpu} | {wall} | {ratios} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help=f"10 documents, 1 round, {SHORT_LAYERS} layers")
    parser.add_argument("--documents", type=int, help="number of documents (default: 100, short 10)")
    parser.add_argument("--rounds", type=int, help="number of rounds (default: 3, short 1)")
    parser.add_argument("--dtype", default="float32", help="dtype of the model (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=default_folder(), help="folder of models (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    options.documents = options.documents or (10 if options.short else 100)
    options.rounds = options.rounds or (1 if options.short else 3)
    result = measure(options)
    print(json.dumps(result, indent=1) if options.json else table(result))


if __name__ == "__main__":
    main()
