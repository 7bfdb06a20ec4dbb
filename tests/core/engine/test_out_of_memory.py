"""Memory that really runs out, in a process that may have no more: its batches shrink, and all results are right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from millpond.testing.checkpoints import tiny

SPARE = 150  # MiB
CODE = """
import json, resource, sys
import numpy as np
from millpond import LLM

folder, spare = sys.argv[1], int(sys.argv[2]) * 2**20
ids = np.random.default_rng(0).integers(5, 60, (1000, 60)).tolist()
prompts = [{"prompt_token_ids": own} for own in ids]

def vectors(llm):
    return np.stack([output.outputs.array for output in llm.embed(prompts, use_tqdm=False)])

with LLM(folder, num_workers=1) as llm:
    expected = vectors(llm)
with LLM(folder, num_workers=1, max_num_batched_tokens=200_000, max_num_seqs=10_000) as llm:
    llm.embed("a boat", use_tqdm=False)
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + spare, hard))
    found = vectors(llm)
    small = llm._engine.scheduler.max_num_batched_tokens
    again = vectors(llm)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    for number in range(2000):
        llm.embed({"prompt_token_ids": [5 + number % 50]}, use_tqdm=False)
    print(json.dumps({
        "small": small,
        "recovered": llm._engine.scheduler.max_num_batched_tokens,
        "failures": llm._engine.stats.failures,
        "off": float(max(abs(found - expected).max(), abs(again - expected).max())),
    }))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it limits the memory of a process as Linux does")
def test_a_process_at_its_memory_limit_continues_in_smaller_batches(tmp_path):
    folder = tiny("BertModel", tmp_path / "bert", num_hidden_layers=1, intermediate_size=2048)
    command = [sys.executable, "-c", CODE, str(folder), str(SPARE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["failures"] == 0
    assert report["off"] < 1e-5
    assert 256 <= report["small"] < 60_000
    assert report["recovered"] == 200_000
