"""bge-m3: all three outputs equal a reference implementation, and come from one forward pass."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond_models.testing.bge_m3 import HEADS, tiny_bge_m3

TEXTS = ["the cat sat on the mill", "a", "the old mill, the old river and the old stone of the mill", "zyzzyva rain"]
BOS, PAD, EOS, UNK = 0, 1, 2, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bge_m3(tmp_path_factory.mktemp("m3") / "bge-m3")


@pytest.fixture(scope="module")
def reference(folder):
    """Return the vector of a text, the weights of its tokens and the vectors of its tokens, as in the paper."""
    import transformers

    model = transformers.XLMRobertaModel.from_pretrained(str(folder), add_pooling_layer=False).eval()
    heads = {name: load_file(folder / f"{name}.safetensors") for name in HEADS}

    def reference(ids):
        with torch.no_grad():
            states = model(torch.tensor([ids])).last_hidden_state[0]
            dense = functional.normalize(states[0], dim=0)
            weights = functional.linear(states, **heads["sparse_linear"]).relu()[:, 0]
            vectors = functional.normalize(functional.linear(states[1:], **heads["colbert_linear"]), dim=1)
        lexical = {}
        for token, weight in zip(ids, weights.tolist(), strict=True):
            if token not in (BOS, PAD, EOS, UNK) and weight > lexical.get(token, 0):
                lexical[token] = weight
        return dense.numpy(), lexical, vectors.numpy()

    return reference


@pytest.fixture
def llm(folder, load):
    return load(folder)


def test_bge_m3_is_recognized_by_its_head_files(llm):
    assert llm.model_config.architecture == "BgeM3EmbeddingModel"
    assert llm.model_config.tasks == ("embed", "token_embed", "token_classify")
    assert "embed_sparse" in llm.supported_tasks


def test_all_three_equal_the_reference(llm, reference):
    dense = llm.embed(TEXTS, use_tqdm=False)
    sparse = llm.embed_sparse(TEXTS, use_tqdm=False, return_tokens=True)
    vectors = llm.encode(TEXTS, pooling_task="token_embed", use_tqdm=False)
    some_weigh_nothing = False
    for one, two, three in zip(dense, sparse, vectors, strict=True):
        ids = one.prompt_token_ids
        vector, lexical, each = reference(ids)
        np.testing.assert_allclose(one.outputs.array, vector, atol=1e-5)
        np.testing.assert_allclose(three.outputs.array, each, atol=1e-5)
        assert dict(zip(two.outputs.indices.tolist(), two.outputs.values.tolist(), strict=True)) == pytest.approx(
            lexical, rel=1e-5, abs=1e-5
        )
        assert list(two.outputs.tokens) == llm.get_tokenizer().convert_ids_to_tokens(sorted(lexical))
        some_weigh_nothing |= len(lexical) < len(set(ids) - {BOS, EOS})
    assert some_weigh_nothing


def test_all_outputs_come_from_one_forward_pass(llm, monkeypatch):
    model = llm._loaded.model  # noqa: SLF001  counts forward passes
    batches = []
    forward = type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda self, batch: (batches.append(batch), forward(self, batch))[1])
    wanted = [{"task": "embed"}, {"task": "embed_sparse"}, {"task": "token_embed"}]
    (output,) = llm.represent(TEXTS[0], wanted)
    assert len(batches) == 1
    dense, sparse, vectors = output.outputs.results
    assert dense == llm.embed(TEXTS[0])[0].outputs
    assert sparse == llm.embed_sparse(TEXTS[0])[0].outputs
    assert vectors == llm.encode(TEXTS[0], pooling_task="token_embed")[0].outputs


def test_weights_exclude_the_tokens_at_both_ends(llm, reference):
    (output,) = llm.encode(TEXTS[0], pooling_task="token_classify")
    ids = output.prompt_token_ids
    assert output.outputs.array.shape == (len(ids) - 2,)
    _, lexical, _ = reference(ids)
    for token, weight in zip(ids[1:-1], output.outputs.array.tolist(), strict=True):
        assert weight <= lexical.get(token, 0.0) * (1 + 1e-5) + 1e-5  # weights from 5 on are rounded by this much
    bare = PoolingParams(use_activation=False)
    (logits,) = llm.encode(TEXTS[0], bare, pooling_task="token_classify")
    np.testing.assert_allclose(np.maximum(logits.outputs.array, 0), output.outputs.array, atol=1e-6)


def test_ids_without_ends_and_ends_alone(llm):
    with_ends = llm.encode([[BOS, 60, 61, EOS]], pooling_task="token_classify")[0].outputs.array
    assert llm.encode([[60, 61]], pooling_task="token_classify")[0].outputs.array.shape == with_ends.shape
    assert llm.encode([[BOS, EOS]], pooling_task="token_classify")[0].outputs.array.shape == (0,)
    assert llm.embed_sparse([[BOS, EOS]])[0].outputs.num_terms == 0


def test_score_is_by_the_vectors_or_by_late_interaction(folder, load, reference):
    query, documents = TEXTS[0], TEXTS[1:]
    llm = load(folder)
    ids = [output.prompt_token_ids for output in llm.embed([query, *documents], use_tqdm=False)]
    (dense, _, vectors), *others = map(reference, ids)
    actual = [output.outputs.score for output in llm.score(query, documents, use_tqdm=False)]
    assert actual == pytest.approx([float(dense @ other) for other, _, _ in others], abs=1e-5)
    late = load(folder, pooler_config={"task": "token_embed"})
    actual = [output.outputs.score for output in late.score(query, documents, use_tqdm=False)]
    assert actual == pytest.approx([float((vectors @ o.T).max(axis=1).sum()) for _, _, o in others], abs=1e-4)


def test_pickled_heads_are_read_where_that_is_allowed(tmp_path, load, folder, caplog):
    pickled = tiny_bge_m3(tmp_path / "bge-m3", pickled=True)
    plain = load(pickled)
    assert plain.model_config.architecture == "XLMRobertaModel"
    assert "allow_pickle=True loads them" in caplog.text
    whole = load(pickled, allow_pickle=True)
    assert whole.embed_sparse(TEXTS[0])[0].outputs == load(folder).embed_sparse(TEXTS[0])[0].outputs
    with pytest.raises(CheckpointError, match=r"sparse_linear\.pt is a pickle.*allow_pickle=True"):
        load(pickled, hf_overrides={"architectures": ["BgeM3EmbeddingModel"]})


def test_a_pickle_that_runs_code_is_refused(tmp_path, load):
    folder = tiny_bge_m3(tmp_path / "bge-m3", pickled=True)

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"weight": Evil()}, folder / "sparse_linear.pt")
    with pytest.raises(CheckpointError, match="cannot be read with weights_only=True"):
        load(folder, allow_pickle=True)
    assert not (tmp_path / "written").exists()


def test_one_head_is_not_enough(tmp_path, load):
    folder = tiny_bge_m3(tmp_path / "bge-m3")
    (folder / "colbert_linear.safetensors").unlink()
    assert load(folder).model_config.architecture == "XLMRobertaModel"
    with pytest.raises(CheckpointError, match=r"neither colbert_linear\.safetensors nor colbert_linear\.pt"):
        load(folder, hf_overrides={"architectures": ["BgeM3EmbeddingModel"]})


def test_a_model_without_the_heads_keeps_its_architecture(tmp_path, load):
    llm = load(tiny("XLMRobertaModel", tmp_path))
    assert llm.model_config.architecture == "XLMRobertaModel"
    with pytest.raises(InvalidInputError, match="has no sparse embeddings"):
        llm.embed_sparse("a")


@pytest.mark.parametrize("size", [1, 3])
def test_chunks_of_late_chunking_contain_the_first_special_token(folder, llm, size):
    import transformers

    params = PoolingParams(late_chunking_params={"chunk_size": size})
    plain, output = llm.encode([TEXTS[2]] * 2, [None, params], pooling_task="token_embed", use_tqdm=False)
    ids = output.prompt_token_ids
    assert len(plain.outputs.array) == len(ids) - 1
    assert len(output.outputs.array) == -(-len(ids) // size)
    assert output.late_chunking.chunks[0].token_range == (0, size)
    model = transformers.XLMRobertaModel.from_pretrained(str(folder), add_pooling_layer=False).eval()
    with torch.no_grad():
        states = model(torch.tensor([ids])).last_hidden_state[0]
        vectors = functional.linear(states, **load_file(folder / "colbert_linear.safetensors"))
        expected = functional.normalize(torch.stack([part.mean(0) for part in vectors.split(size)]), dim=1)
    np.testing.assert_allclose(output.outputs.array, expected.numpy(), atol=1e-5)
