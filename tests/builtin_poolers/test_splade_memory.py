"""SPLADE of many long texts takes little more memory than its encoder alone."""

import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file

from millpond.testing.checkpoints import tiny, write_sparse_encoder

TEXTS, TOKENS = 512, 256
SIZE = {
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
}
MAX_MEMORY_RATIO = 1.5  # relative to the encoder's memory
# Shifts the logits so that texts have a few hundred terms, like with trained models; random weights give more.
SHIFT = 60.0
ASK = """
import resource, sys
from random import Random
from millpond import LLM

random = Random(0)
prompts = [{{"prompt_token_ids": random.choices(range(1000, 30000), k={tokens})}} for _ in range({texts})]
with LLM(sys.argv[1], num_workers=1, skip_tokenizer_init=True) as llm:
    outputs = llm.{method}(prompts, use_tqdm=False)
    print(len(outputs), getattr(outputs[0].outputs, "num_terms", 0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(folder, method):
    """Return the peak memory of a separate process in KiB, and the number of terms of a text."""
    code = ASK.format(tokens=TOKENS, texts=TEXTS, method=method)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    texts, terms, memory = map(int, done.stdout.split())
    assert texts == TEXTS
    return memory, terms


@pytest.mark.slow
def test_memory_is_bounded(tmp_path):
    encoder = tiny("BertModel", tmp_path / "encoder", tokenizer=False, **SIZE)
    splade = tiny("BertForMaskedLM", tmp_path / "splade", tokenizer=False, **SIZE)
    write_sparse_encoder(splade)
    weights = splade / "model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"cls.predictions.bias": tensors["cls.predictions.bias"] - SHIFT}, weights)
    alone, _ = peak(encoder, "embed")
    whole, terms = peak(splade, "embed_sparse")
    assert 10 < terms < 1000
    message = f"encoder {alone / 1024:.0f} MiB, SPLADE {whole / 1024:.0f} MiB: {whole / alone:.2f} times"
    assert whole <= MAX_MEMORY_RATIO * alone, message
