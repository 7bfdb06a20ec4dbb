"""Test models without a tokenizer, without an embedding for a token, with weights that overflow, and closed models."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from millpond import LLM, CheckpointError, EngineError, InvalidInputError
from millpond.testing.checkpoints import tiny


def test_without_a_tokenizer_only_token_ids_are_accepted(tmp_path, load):
    llm = load(tiny("BertModel", tmp_path, tokenizer=False))
    assert llm.embed([5, 6])[0].num_prompt_tokens == 2
    with pytest.raises(
        InvalidInputError, match=r"^prompt 0: the model .* has no tokenizer: .* Pass token ids, or load"
    ):
        llm.embed("the cat")


def test_skip_tokenizer_init_does_not_load_the_tokenizer(checkpoint, load):
    (checkpoint / "tokenizer.json").write_text("{}", encoding="utf-8")  # not a valid tokenizer
    with pytest.raises(CheckpointError, match="tokenizer"):
        load(checkpoint)
    llm = load(checkpoint, skip_tokenizer_init=True)
    assert llm.embed([5, 6])[0].num_prompt_tokens == 2
    with pytest.raises(InvalidInputError, match="no tokenizer"):
        llm.embed("the cat")


def test_a_token_without_an_embedding_is_refused_with_its_index(tmp_path, load):
    """Some tokenizers have added tokens without an embedding. Looking one up on a GPU would end the process."""
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


def test_a_text_that_the_tokenizer_fails_on_does_not_affect_others(tmp_path, load):
    folder = tiny("BertModel", tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["unk_token"] = "[NONE]"  # WordPiece raises for words outside its vocabulary
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    llm = load(folder)
    outputs = llm.embed(["the cat", "猫", "a dog"], on_error="return")
    assert [output.error is None for output in outputs] == [True, False, True]
    with pytest.raises(InvalidInputError, match=r"^prompt 1: the tokenizer of .* fails on the text"):
        llm.embed(["the cat", "猫", "a dog"])


def test_a_result_that_is_not_finite_fails_only_its_prompt(tmp_path, arrays):
    """Finite weights that overflow for one token: NaN is not returned, and other prompts are not affected."""
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
