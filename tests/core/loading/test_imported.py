"""A native model imports neither code from its checkpoint nor transformers."""

import json
import subprocess
import sys

import numpy as np
import pytest

from millpond.testing.checkpoints import tiny, write_sentence_transformers


@pytest.mark.parametrize("trusted", [False, True])
def test_code_in_a_checkpoint_is_never_imported(checkpoint, load, expected, monkeypatch, trusted, vector, change):
    """A native model does not run code from its folder, even with trust_remote_code."""
    marker = checkpoint.parent / "imported"
    code = f"import pathlib; pathlib.Path({str(marker)!r}).touch()\n"
    names = ("modeling_evil", "configuration_evil", "tokenization_evil", "evil_module")
    for name in (*names, "sitecustomize"):
        (checkpoint / f"{name}.py").write_text(f"{code}class Evil: pass\nclass Pooling(Evil): pass\n")
    monkeypatch.chdir(checkpoint)
    monkeypatch.syspath_prepend(checkpoint)
    auto = {"AutoConfig": "configuration_evil.Evil", "AutoModel": "modeling_evil.Evil"}
    change(checkpoint, auto_map=auto)
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["tokenization_evil.Evil", None]}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings))
    assert np.array_equal(vector(load(checkpoint, trust_remote_code=trusted)), expected)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "evil_module.Evil"}]
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    assert np.array_equal(vector(load(checkpoint, trust_remote_code=trusted)), expected)
    modules.append({"idx": 1, "name": "1", "path": "1_Pooling", "type": "evil_module.Pooling"})
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    assert load(checkpoint, trust_remote_code=trusted)
    assert not marker.exists()
    assert sys.modules.keys().isdisjoint(names)


@pytest.mark.slow
def test_a_native_model_is_served_without_transformers(tmp_path):
    """Importing transformers takes longer than everything else together."""
    folder = tiny("BertModel", tmp_path)
    write_sentence_transformers(folder)
    code = f"""
import sys
import tqdm.std
from millpond import LLM
tqdm.std.time = lambda: 0.0  # else a busy machine is told of progress
with LLM({str(folder)!r}) as llm:
    outputs = llm.embed(["the cat"] * 3)
    tokens = llm.encode("the cat", pooling_task="token_embed")
assert outputs[0].outputs.hidden_size == 32
heavy = {{"transformers", "sentence_transformers", "pandas", "requests", "httpx", "scipy", "sklearn"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
    assert done.stderr == ""
