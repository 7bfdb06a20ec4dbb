"""The sections of gpu_all.py. Each yields rows as soon as they are measured, in its own process.

python benchmarks/gpu_sections.py SECTION --rows FILE --folder FOLDER --seconds N [--device DEVICE] [--short]
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from gpu_encoders import Encoder, Peer, cosines, random_sequences
from gpu_http import http
from gpu_models import BERT_BASE, BGE_M3, MODELS, MODERNBERT, QWEN3, WORKS, RandomModel, Work
from gpu_run import GIB, Row, Run, attempt, attention_variants
from gpu_variants import pipeline, products, variants

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "triton", "transformers", "sentence-transformers", "tokenizers", "numpy", "flash-attn", "kernels")
PRECISIONS = ("bfloat16", "float16", "float32")
BATCH_TOKENS = (16384, 32768, 65536, 131072)
GRAPH_BATCHES = ([10], [10] * 6, [50] * 5, [50] * 10, [128] * 8, [50] * 40)  # lengths of the sequences of a batch
SYNC_WARNING = re.compile(r"called a synchronizing (?:CUDA|accelerator) operation")


# --- machine --------------------------------------------------------------------------------------------------------


def machine(run: Run) -> Iterator[Row]:
    """The device, the versions, the peak of matrix products, and the bandwidth of copies."""
    from millpond_kernels.gpu import triton_availability, varlen_availability  # noqa: PLC0415  after the first row

    is_cuda = run.device.type == "cuda"
    yield {
        "device": torch.cuda.get_device_name(run.device) if is_cuda else str(run.device),
        "capability": list(torch.cuda.get_device_capability(run.device)) if is_cuda else None,
        "memory_gib": torch.cuda.get_device_properties(run.device).total_memory / GIB if is_cuda else None,
        "cuda": torch.version.cuda,
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in PACKAGES},
        "attention.varlen": varlen_availability(),
        "triton": triton_availability(),
    }
    size = 128 if run.short else 8192
    for precision in PRECISIONS:
        dtype = getattr(torch, precision)
        a, b = (torch.randn(size, size, device=run.device).to(dtype) for _ in range(2))
        yield {"peak": precision, "tflops": 2 * size**3 / run.seconds(partial(torch.mm, a, b), calls=5) / 1e12}
    yield from products(run)
    count = 2**16 if run.short else 2**26
    on_host, on_device = torch.empty(count), torch.empty(count, device=run.device)
    pinned = on_host.pin_memory() if is_cuda else on_host
    copies: dict[str, Callable[[], object]] = {
        "pageable to device": lambda: on_device.copy_(on_host),
        "pinned to device": lambda: on_device.copy_(pinned, non_blocking=True),
        "device to pinned": lambda: pinned.copy_(on_device, non_blocking=True),
        "device to device": on_device.clone,
    }
    for name, copy in copies.items():
        yield {"copy": name, "gb_per_second": 4 * count / run.seconds(copy) / 1e9}
    small = torch.zeros(1, device=run.device)
    yield {"launch_us": run.seconds(lambda: small.add_(1), calls=1000) * 1e6}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# --- conformance ----------------------------------------------------------------------------------------------------

RESULT = re.compile(r"(PASSED|FAILED|SKIPPED|ERROR)")
TEST = re.compile(r"::Test_(?P<kernel>\w+?)::(?P<test>[\w\[\].\-]+)")


def conformance(run: Run) -> Iterator[Row]:
    """The conformance tests of every kernel that runs on the device; one row for each test."""
    command = [sys.executable, "-m", "pytest", "-v", "--tb=line", "-p", "no:cacheprovider", "-o", "addopts="]
    command += ["-o", "filterwarnings=default", "--import-mode=importlib", "tests/kernels/gpu/on_device.py"]
    if find_spec("xdist") is not None and not run.short:
        command += ["-n", str(min(8, os.cpu_count() or 1))]
    if run.short:
        command += ["-k", "normalize"]
    environment = {**os.environ, "KERNELS_DEVICE": str(run.device)}
    with subprocess.Popen(  # noqa: S603  fixed arguments
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        tail: list[str] = []
        for line in process.stdout or ():
            tail = [*tail[-40:], line.rstrip()]
            test, result = TEST.search(line), RESULT.search(line)
            if test and result:
                kernel = test["kernel"].replace("__", ".")
                yield {"kernel": kernel, "test": test["test"], "outcome": result[1].lower()}
            elif line.startswith(("FAILED", "ERROR", "E ", "/")):
                yield {"message": line.strip()[:500]}
    if process.returncode not in (0, 1):  # 1: some tests failed
        raise RuntimeError("pytest failed:\n" + "\n".join(tail))


# --- parity ---------------------------------------------------------------------------------------------------------

PARITY_CONFIG: Mapping[str, Any] = {"num_hidden_layers": 4}


def parity(run: Run) -> Iterator[Row]:
    """Vectors of some models compared with those of transformers in float32, in each precision and attention."""
    for model in (BERT_BASE, BGE_M3, MODERNBERT, QWEN3):
        folder = run.checkpoint(model, "float32") if run.short else _shallow(run, model)
        sequences = random_sequences([3, 64, 17, 40, 40, 9, 1] if run.short else [3, 500, 17, 120, 120, 9, 256, 1])
        peer = partial(Peer, folder, run.device, "float32", model.pooling)
        reference = attempt(
            {"model": model.name, "dtype": "float32", "side": "reference"}, partial(_vectors, peer, sequences)
        )
        expected = reference.pop("vectors", None)
        if expected is None:
            yield reference
            continue
        for dtype in ("float32", "bfloat16"):
            row = {"model": model.name, "dtype": dtype, "side": "transformers"}
            peer = partial(Peer, folder, run.device, dtype, model.pooling)
            yield attempt(row, partial(_parity, peer, sequences, expected))
            for attention in attention_variants(run, dtype):
                row = {"model": model.name, "dtype": dtype, "side": "millpond", "attention": attention}
                encoder = partial(Encoder, folder, run.device, dtype, model.pooling, _kernels(attention))
                yield attempt(row, partial(_parity, encoder, sequences, expected))


def _vectors(load: Callable[[], Peer], sequences: Sequence[Any]) -> Row:
    with load() as peer:
        return {"vectors": peer.embed(sequences, 4096)}


def _parity(load: Callable[[], Encoder | Peer], sequences: Sequence[Any], expected: Any) -> Mapping[str, float]:
    with load() as side:
        return cosines(side.embed(sequences, 4096), expected)


def _shallow(run: Run, model: RandomModel) -> Path:
    shallow = replace(model, name=f"{model.name}-4-layers", config={**model.config, **PARITY_CONFIG})
    return run.checkpoint(shallow, "float32")


def _kernels(attention: str) -> dict[str, str]:
    return {"attention": attention} if attention else {}


# --- throughput -----------------------------------------------------------------------------------------------------


def throughput(run: Run) -> Iterator[Row]:
    """Tokens per second of each row of the table of goals, from token ids to vectors on the host."""
    per_work = (run.deadline - time.monotonic()) / len(WORKS)
    for number, work in enumerate(WORKS):
        end = time.monotonic() + per_work
        tokens = min(work.tokens, 60) if run.short else work.tokens
        folder = run.checkpoint(work.model)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        flops = work.model.flops(config, tokens) / tokens
        total = 4 * tokens if run.short else 2**19
        sequences = random_sequences([tokens] * (total // tokens), seed=number)
        yield from _ours(run, work, sequences, flops=flops, end=end)
        peer = partial(Peer, folder, run.device, "bfloat16", work.model.pooling)
        for batch_tokens in BATCH_TOKENS[:1] if run.short else BATCH_TOKENS[:2]:
            row = {"work": work.name, "side": "transformers, sdpa", "batch_tokens": batch_tokens}
            yield attempt(row, partial(_peer_rates, run, peer, sequences, flops, batch_tokens))


def _rates(run: Run, side: Encoder | Peer, sequences: Sequence[Any], flops: float, batch_tokens: int) -> Row:
    seconds = run.seconds(partial(side.embed, sequences, batch_tokens), repeats=2)
    return run.rates(sequences, seconds, flops)


def _peer_rates(run: Run, load: Callable[[], Peer], sequences: Sequence[Any], flops: float, batch_tokens: int) -> Row:
    with load() as peer:
        return _rates(run, peer, sequences, flops, batch_tokens)


def _ours(run: Run, work: Work, sequences: Sequence[Any], *, flops: float, end: float) -> Iterator[Row]:
    folder = run.checkpoint(work.model)
    sizes = BATCH_TOKENS[:1] if run.short else BATCH_TOKENS
    for attention in reversed(attention_variants(run, "bfloat16")):
        with Encoder(folder, run.device, "bfloat16", work.model.pooling, _kernels(attention)) as encoder:
            for batch_tokens in sizes:
                row = {"work": work.name, "side": "millpond", "attention": attention, "batch_tokens": batch_tokens}
                if time.monotonic() > end:
                    yield {**row, "left_out": "no time left"}
                    continue
                row = attempt(row, partial(_peak_memory, run, encoder, sequences, batch_tokens))
                if "error" not in row:
                    row = attempt(row, partial(_rates, run, encoder, sequences, flops, batch_tokens))
                yield row


def _peak_memory(run: Run, encoder: Encoder, sequences: Sequence[Any], batch_tokens: int) -> Row:
    return {"peak_memory_gib": run.peak_memory(partial(encoder.embed, sequences, batch_tokens))}


# --- texts and queries ----------------------------------------------------------------------------------------------

TEXT = "the red boat and snow on the hill at night we see the city far away "


def texts(run: Run) -> Iterator[Row]:
    """From texts to vectors, beside sentence-transformers; and the time of one short query."""
    from engines import load_engine  # noqa: PLC0415  as in contests

    from millpond.testing.checkpoints import write_sentence_transformers  # noqa: PLC0415

    for tokens in (20,) if run.short else (50, 512):
        folder = run.checkpoint(replace(BERT_BASE, name=f"{BERT_BASE.name}-texts-{tokens}"))
        size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"]
        write_sentence_transformers(folder, size=size, max_seq_length=tokens)
        count = 8 if run.short else 2**18 // tokens
        prompts = [f"{number} {TEXT * (tokens // 8 + 1)}" for number in range(count)]
        for engine in ("millpond", "sentence-transformers"):
            if find_spec(engine.replace("-", "_")) is None:
                yield {"work": f"BERT-base, texts of {tokens} tokens", "side": engine, "left_out": "not installed"}
                continue
            row = {"work": f"BERT-base, texts of {tokens} tokens", "side": engine, "tokens": tokens}
            load = partial(load_engine, engine, model=str(folder), device=str(run.device), dtype="bfloat16")
            yield attempt(row, partial(_texts, run, load, prompts, tokens))


def _texts(run: Run, load: Callable[[], Any], prompts: list[str], tokens: int) -> Row:
    loaded = load()
    seconds = run.seconds(partial(loaded.embed, prompts), repeats=2)
    query = partial(loaded.embed_one, "the red boat on the hill")
    return {
        "tokens_per_second": len(prompts) * tokens / seconds,
        "sequences_per_second": len(prompts) / seconds,
        "query_ms": run.seconds(query, repeats=100) * 1e3,
    }


def maxsim(run: Run) -> Iterator[Row]:
    """Each kernel of ``maxsim``: a query of 32 tokens and 1,000 documents of 180 tokens, 128 dimensions."""
    from millpond.plugin.manager import PluginManager  # noqa: PLC0415  takes a second

    documents = 10 if run.short else 1000
    lengths = [180] * documents
    for dtype in (torch.bfloat16, torch.float32):
        query = torch.randn(32, 128, device=run.device).to(dtype)
        rows = torch.randn(sum(lengths), 128, device=run.device).to(dtype)
        for entry in PluginManager().registry.kernels.grouped("op")["maxsim"]:
            if entry.spec.variant == "triton" and run.device.type != "cuda":
                continue
            row = {"kernel": entry.spec.name, "dtype": str(dtype).removeprefix("torch.")}
            yield attempt(row, partial(_score_ms, run, entry, query, rows, lengths))


def _score_ms(run: Run, entry: Any, query: torch.Tensor, rows: torch.Tensor, lengths: list[int]) -> Row:
    score = partial(entry.load(), query, rows, [32], lengths)
    return {"ms": run.seconds(score, calls=1 if run.short else 5) * 1e3}


def graphs(run: Run) -> Iterator[Row]:
    """Small batches with and without recorded graphs: the time of a batch, and the cosines of its vectors."""
    attention = attention_variants(run, "bfloat16")[-1]
    with Encoder(run.checkpoint(BERT_BASE), run.device, "bfloat16", "MEAN", _kernels(attention)) as encoder:
        for lengths in ([10], [10] * 6, [60, 40, 30], [60] * 6) if run.short else GRAPH_BATCHES:
            row = {"tokens": sum(lengths), "sequences": len(lengths), "attention": attention}
            yield attempt(row, partial(_graph_ms, run, encoder, lengths))


def _graph_ms(run: Run, encoder: Encoder, lengths: Sequence[int]) -> Row:
    sequences = random_sequences(lengths, seed=2)
    batch_ms: dict[str, float] = {}
    vectors: dict[str, Any] = {}
    for side in ("as usual", "graph"):
        encoder.use_graphs(recorded=side == "graph")
        vectors[side] = encoder.embed(sequences, 4096)
        batch_ms[side] = run.seconds(partial(encoder.embed, sequences, 4096), calls=1 if run.short else 20) * 1e3
    return {"ms": batch_ms, "refusal": encoder.graph_refusal, **cosines(vectors["graph"], vectors["as usual"])}


# --- synchronisations, profile --------------------------------------------------------------------------------------


def syncs(run: Run) -> Iterator[Row]:
    """The lines at which one batch of each model waits for the device, besides the copy of its results."""
    for model in MODELS:
        yield attempt({"model": model.name}, partial(_syncs, run, model))


def _syncs(run: Run, model: RandomModel) -> Row:
    with Encoder(run.checkpoint(model), run.device, "bfloat16", model.pooling) as encoder:
        sequences = random_sequences([5, 17, 17, 40], seed=1)
        encoder.embed(sequences, 4096)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            encoder.embed_watched(sequences)
    return {"syncs": sorted(f"{it.filename}:{it.lineno}" for it in caught if SYNC_WARNING.search(str(it.message)))}


def profile(run: Run) -> Iterator[Row]:
    """The kernels of one step of BERT-base with the most time, and a trace for a browser."""
    for attention in attention_variants(run, "bfloat16"):
        yield attempt({"attention": attention}, partial(_profile, run, attention))


def _profile(run: Run, attention: str) -> Row:
    from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415  as above

    is_cuda = run.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
    with Encoder(run.checkpoint(BERT_BASE), run.device, "bfloat16", "MEAN", _kernels(attention)) as encoder:
        sequences = random_sequences([20] * 4 if run.short else [512] * 64)
        for _ in range(1 if run.short else 3):
            encoder.embed(sequences, 2**15)
        with profile(activities=activities) as profiler:
            start = time.perf_counter()
            encoder.embed(sequences, 2**15)
            run.synchronize()
            wall = time.perf_counter() - start
    trace = run.folder / f"trace-{attention or 'default'}.json.gz"
    profiler.export_chrome_trace(str(trace))
    times = {
        it.key[:120]: (it.self_device_time_total if is_cuda else it.self_cpu_time_total) / 1e3
        for it in profiler.key_averages()
    }
    slowest = dict(sorted(times.items(), key=lambda item: -item[1])[:25])
    return {"wall_ms": wall * 1e3, "device_ms": sum(times.values()), "trace": trace.name, "kernels_ms": slowest}


SECTIONS: Mapping[str, Callable[[Run], Iterator[Row]]] = {
    "machine": machine,
    "conformance": conformance,
    "parity": parity,
    "throughput": throughput,
    "texts": texts,
    "maxsim": maxsim,
    "graphs": graphs,
    "pipeline": pipeline,
    "variants": variants,
    "http": http,
    "syncs": syncs,
    "profile": profile,
}


def main() -> None:
    """Run a section; append each row to a file as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    run = Run(
        device=torch.device(options.device),
        short=options.short,
        folder=options.folder,
        deadline=time.monotonic() + options.seconds,
    )
    with options.rows.open("w", encoding="utf-8") as file:
        for row in SECTIONS[options.section](run):
            file.write(json.dumps(row) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
