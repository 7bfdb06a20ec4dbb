"""Sections of gpu_all.py: batches in flight, and precisions, attention implementations and torch.compile."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import torch
from gpu_encoders import Encoder, Ids, Peer, Vectors, cosines, random_sequences
from gpu_models import BERT_BASE
from gpu_run import Row, Run, attempt, attention_variants

IN_FLIGHT = (1, 2, 3)
BATCH_TOKENS = 16384
TOKENS = 512
ATTENTIONS = {  # of transformers; the package that each needs
    "sdpa": "torch",
    "flash_attention_2": "flash_attn",
    "kernels-community/flash-attn2": "kernels",
}


def pipeline(run: Run) -> Iterator[Row]:
    """The throughput with several batches in flight, with the vectors of one at a time."""
    attention = attention_variants(run, "bfloat16")[-1]
    kernels = {"attention": attention} if attention else {}
    batch_tokens = 64 if run.short else BATCH_TOKENS
    with Encoder(run.checkpoint(BERT_BASE), run.device, "bfloat16", "MEAN", kernels) as encoder:
        for tokens in (20,) if run.short else (50, TOKENS):
            sequences = random_sequences([tokens] * (20 if run.short else 2**19 // tokens), seed=3)
            expected: Vectors | None = None
            for in_flight in IN_FLIGHT:
                row = {"tokens": tokens, "in_flight": in_flight, "batch_tokens": batch_tokens}
                if run.is_over:
                    yield {**row, "left_out": "no time left"}
                    continue
                encoder.use_pipeline(in_flight)
                expected = encoder.embed(sequences, batch_tokens) if expected is None else expected
                yield attempt(row, partial(_speed, run, encoder, sequences, batch_tokens, expected))


def _speed(run: Run, encoder: Encoder, sequences: list[Ids], batch_tokens: int, expected: Vectors) -> Row:
    vectors = encoder.embed(sequences, batch_tokens)
    seconds = run.seconds(partial(encoder.embed, sequences, batch_tokens), repeats=3)
    return {"tokens_per_second": sum(map(len, sequences)) / seconds, **cosines(vectors, expected)}


def variants(run: Run) -> Iterator[Row]:
    """BERT-base in each precision, with each implementation of attention that is installed, and compiled."""
    folder = run.checkpoint(BERT_BASE)
    tokens = 60 if run.short else TOKENS
    sequences = random_sequences([tokens] * (4 if run.short else 2**18 // tokens), seed=4)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    flops = BERT_BASE.flops(config, tokens) / tokens

    def measured(side: str, dtype: str, load: Callable[[], Encoder | Peer]) -> Row:
        row: Row = {"side": side, "dtype": dtype}
        return {**row, "left_out": "no time left"} if run.is_over else attempt(row, partial(rates, load))

    def rates(load: Callable[[], Encoder | Peer]) -> Row:
        with load() as encoder:
            seconds = run.seconds(partial(encoder.embed, sequences, BATCH_TOKENS), repeats=2)
            return run.rates(sequences, seconds, flops)

    for dtype in ("bfloat16", "float16"):
        for attention in attention_variants(run, dtype):
            kernels = {"attention": attention} if attention else {}
            side = f"millpond, {attention or 'default'}"
            yield measured(side, dtype, partial(Encoder, folder, run.device, dtype, "MEAN", kernels))
        for attention, package in ATTENTIONS.items():
            if find_spec(package) is None:
                yield {"side": f"transformers, {attention}", "dtype": dtype, "left_out": f"{package} is not installed"}
                continue
            peer = partial(Peer, folder, run.device, dtype, "MEAN", attention=attention)
            yield measured(f"transformers, {attention}", dtype, peer)
    compiled = partial(Peer, folder, run.device, "bfloat16", "MEAN", compiled=True)
    yield measured("transformers, sdpa, torch.compile", "bfloat16", compiled)


def products(run: Run) -> Iterator[Row]:
    """The rate of products in fp8 with a scale for each row, where torch supports it."""
    size = 128 if run.short else 8192
    row: Row = {"peak": "float8_e4m3fn"}
    try:
        a, b = (torch.randn(size, size, device=run.device).to(torch.float8_e4m3fn) for _ in range(2))
        scale = torch.ones(size, 1, device=run.device)
        product = partial(torch._scaled_mm, a, b.t(), scale, scale.t(), out_dtype=torch.bfloat16)  # noqa: SLF001
        yield {**row, "tflops": 2 * size**3 / run.seconds(product, calls=5) / 1e12}
    except (RuntimeError, AttributeError) as error:
        yield {**row, "error": str(error)[:300]}
