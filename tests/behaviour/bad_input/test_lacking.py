"""Models with less than they should have: no tokenizer, no row for a token, weights that overflow, closed ones."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from millpond import LLM, CheckpointError, EngineError, InvalidInputError
from millpond.testing.checkpoints import tiny


def test_without_a_tokenizer_token_ids_are_served_and_text_is_refused(tmp_path, load):
    llm = load(tiny("BertModel", tmp_path, tokenizer=False))
    assert llm.embed([5, 6])[0].num_prompt_tokens == 2
    with pytest.raises(
        InvalidInputError, match=r"^prompt 0: the model .* has no tokenizer: .* Pass token ids, or load"
    ):
        llm.embed("the cat")


def test_a_tokenizer_that_is_not_wanted_is_not_loaded(checkpoint, load):
    (checkpoint / "tokenizer.json").write_text("{}", encoding="utf-8")  # which is no tokenizer
    with pytest.raises(CheckpointError, match="tokenizer"):
        load(checkpoint)
    llm = load(checkpoint, skip_tokenizer_init=True)
    assert llm.embed([5, 6])[0].num_prompt_tokens == 2
    with pytest.raises(InvalidInputError, match="no tokenizer"):
        llm.embed("the cat")


def test_a_token_that_the_weights_lack_is_refused_by_its_place(tmp_path, load):
    """Tokens are added to tokenizers without a row for them: on a GPU, to look one up ends the process."""
    folder = tiny("BertModel", tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 182, "content": "<new>"})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    llm = load(folder)
    good, bad = llm.embed(["the cat", "the <new> cat"], on_error="return")
    assert good.error is None
    assert isinstance(bad.error, InvalidInputError)
    assert str(bad.error).startswith("prompt 1: the text contains ")
    assert "182" in str(bad.error)


def test_a_text_that_the_tokenizer_fails_on_costs_no_other(tmp_path, load):
    folder = tiny("BertModel", tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["unk_token"] = "[NONE]"  # WordPiece raises on a word it has no pieces for
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    llm = load(folder)
    found = llm.embed(["the cat", "猫", "a dog"], on_error="return")
    assert [output.error is None for output in found] == [True, False, True]
    with pytest.raises(InvalidInputError, match=r"^prompt 1: the tokenizer of .* fails on the text"):
        llm.embed(["the cat", "猫", "a dog"])


def test_a_result_that_is_not_finite_is_an_error_of_its_prompt_alone(tmp_path, arrays):
    """Weights that are finite and overflow for one token: no NaN is handed out, and no other prompt is harmed."""
    folder = tiny("BertModel", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"][50] = 3e38
    save_file(tensors, folder / "model.safetensors")
    with LLM(str(folder), num_workers=1) as llm:
        good, bad, last = llm.embed([[5, 6, 7], [5, 50, 7], [8, 9]], on_error="return")
        assert isinstance(bad.error, EngineError)
        assert str(bad.error).startswith("prompt 1: the model computed NaN or infinity")
        assert np.isfinite(arrays([good, last])).all()
        with pytest.raises(EngineError, match=r"^prompt 1: "):
            llm.embed([[5, 6, 7], [5, 50, 7], [8, 9]])


def test_a_closed_model_refuses(checkpoint):
    llm = LLM(str(checkpoint), num_workers=1)
    llm.close()
    llm.close()
    with pytest.raises(EngineError, match="closed"):
        llm.embed("the cat")
