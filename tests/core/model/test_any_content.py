"""Invalid content of a model's small files only raises errors that Millpond defines."""

import json

import pytest

from millpond import LLM, MillpondError
from millpond.testing.checkpoints import write_sentence_transformers


@pytest.mark.parametrize(
    "file",
    [
        pytest.param("config.json", marks=pytest.mark.slow),
        pytest.param("modules.json", marks=pytest.mark.slow),
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        pytest.param("config_sentence_transformers.json", marks=pytest.mark.slow),
        pytest.param("tokenizer_config.json", marks=pytest.mark.slow),
        "tokenizer.json",
    ],
)
def test_no_file_can_break_more_than_its_model(checkpoint, file):
    """With any content of a small file, loading succeeds or raises an error that Millpond defines."""
    write_sentence_transformers(checkpoint, layout="old", max_seq_length=32)
    original = json.loads((checkpoint / file).read_text())
    odd = [None, True, -1, 0.5, 10**40, "", "x", [], [1], {}, {"a": {"b": None}}]
    keys = sorted(original) if isinstance(original, dict) and file != "tokenizer.json" else []
    endless = ("num_hidden_layers", 10**40)  # building these layers would fill the memory
    damaged = [{**original, key: value} for key in keys for value in odd if (key, value) != endless] + odd
    if file == "modules.json":
        damaged += [[{**original[0], key: value}, *original[1:]] for key in original[0] for value in odd]
        damaged += [[original[0], {**original[1], key: value}] for key in original[1] for value in odd]
    for value in damaged:
        (checkpoint / file).write_text(json.dumps(value))
        try:
            LLM(str(checkpoint), num_workers=1, skip_tokenizer_init=not file.startswith("tokenizer")).close()
        except MillpondError:
            continue
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{file} = {json.dumps(value)[:300]}: {type(error).__name__}: {error}")
