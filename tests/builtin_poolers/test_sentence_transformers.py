"""Pooling, Dense and Normalize modules equal sentence-transformers, for old and new file layouts."""

import json
import shutil

import numpy as np
import pytest
import torch
from pooling_files_kit import ACTIVATIONS, TEXTS, change, ours

from millpond.testing.checkpoints import DenseLayer, tiny, write_sentence_transformers
from millpond.testing.sentence_transformers import OLD_FLAGS

POOLING_TYPES = {
    "cls": "CLS",
    "max": "MAX",
    "mean": "MEAN",
    "mean_sqrt_len_tokens": "MEAN_SQRT_LEN",
    "weightedmean": "WEIGHTED_MEAN",
    "lasttoken": "LAST",
}


LAYOUTS = [("old", True), ("old", False), ("new", True), ("new", False)]


@pytest.mark.parametrize("how", LAYOUTS, ids=str)
@pytest.mark.parametrize("mode", POOLING_TYPES)
def test_each_pooling_mode_equals_theirs(checkpoint, load, theirs, mode, how):
    layout, normalize = how
    write_sentence_transformers(checkpoint, pooling=mode, layout=layout, normalize=normalize)
    llm = load(checkpoint)
    assert llm.model_config.pooler_config.seq_pooling_type == POOLING_TYPES[mode]
    assert llm.model_config.pooler_config.use_activation is normalize
    vectors = ours(llm)
    assert np.abs(vectors - theirs(checkpoint)).max() <= 1e-5
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5) is normalize


@pytest.mark.parametrize("how", LAYOUTS, ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_chain_of_dense_modules_equals_theirs(checkpoint, load, theirs, bias, how):
    layout, normalize = how
    dense = [
        DenseLayer(in_features=32, out_features=40, bias=bias, activation=ACTIVATIONS["Tanh"]),
        DenseLayer(in_features=40, out_features=24, bias=not bias, activation=ACTIVATIONS["Identity"]),
        DenseLayer(in_features=24, out_features=9, bias=bias, activation=ACTIVATIONS["GELU"]),
    ]
    write_sentence_transformers(checkpoint, dense=dense, layout=layout, normalize=normalize)
    llm = load(checkpoint)
    assert llm.model_config.embedding_size == 9
    vectors = ours(llm)
    assert vectors.shape == (len(TEXTS), 9)
    assert np.abs(vectors - theirs(checkpoint)).max() <= 1e-5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_each_dense_activation_equals_theirs(checkpoint, load, theirs, activation):
    dense = [DenseLayer(in_features=32, out_features=12, activation=ACTIVATIONS[activation])]
    write_sentence_transformers(checkpoint, dense=dense, normalize=False)
    assert np.abs(ours(load(checkpoint)) - theirs(checkpoint)).max() <= 1e-5


@pytest.mark.parametrize("mode", POOLING_TYPES)
def test_checkpoints_saved_by_sentence_transformers_are_loaded(bare, tmp_path, load, sentence_transformers, mode):
    torch.manual_seed(6)
    kinds = sentence_transformers.sentence_transformer.modules
    head = kinds.Dense(32, 16, activation_function=torch.nn.GELU(), init_bias=torch.randn(16))
    modules = [kinds.Transformer(str(bare)), kinds.Pooling(32, mode), head, kinds.Normalize()]
    model = sentence_transformers.SentenceTransformer(modules=modules, device="cpu", prompts={"query": "find: "})
    folder = tmp_path / "saved"
    model.save_pretrained(str(folder))
    assert not any("models." in line["type"] for line in json.loads((folder / "modules.json").read_text()))
    llm = load(folder)
    assert llm.model_config.prompting.prompts["query"] == "find: "
    assert llm.model_config.pooler_config.seq_pooling_type == POOLING_TYPES[mode]
    assert np.abs(ours(llm) - model.encode(TEXTS, show_progress_bar=False)).max() <= 1e-5


@pytest.mark.parametrize("length", [7, 64])
def test_over_length_text_is_cut_where_they_cut_it(checkpoint, load, theirs, length):
    write_sentence_transformers(checkpoint, layout="old", max_seq_length=length)
    llm = load(checkpoint)
    assert llm.model_config.max_model_len == length
    assert np.abs(ours(llm) - theirs(checkpoint)).max() <= 1e-5


def test_special_tokens_in_a_text_are_recognized_in_lower_case(tmp_path, load, sentence_transformers):
    folder = tiny("BertModel", tmp_path)
    write_sentence_transformers(folder, max_seq_length=64, do_lower_case=True)
    texts = ["The [MASK] of the Mill [SEP] and", "\u039f\u0394\u039f\u03a3 \u0130stanbul"]
    expected = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(texts)
    vectors = [output.outputs.array for output in load(folder).embed(texts)]
    np.testing.assert_allclose(np.stack(vectors), expected, atol=1e-5)
    (asked,) = load(folder).embed(texts[0])
    assert 4 in asked.prompt_token_ids  # [MASK]


def test_text_is_lower_cased_if_the_files_specify_it(tmp_path, load, theirs):
    folder = tiny("RobertaModel", tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    vectors = {}
    for lower in (False, True):
        write_sentence_transformers(folder, layout="old", max_seq_length=64, do_lower_case=lower)
        vectors[lower] = ours(load(folder))
        assert np.abs(vectors[lower] - theirs(folder)).max() <= 1e-5
    assert np.abs(vectors[False] - vectors[True]).max() > 0.01


def test_the_transformer_may_be_in_a_subfolder(bare, tmp_path, load, theirs):
    folder = tmp_path / "split"
    folder.mkdir()
    write_sentence_transformers(folder, layout="old", pooling="max")
    shutil.copytree(bare, folder / "0_Transformer")
    (folder / "0_Transformer" / "sentence_bert_config.json").write_text('{"max_seq_length": 9, "do_lower_case": false}')
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    llm = load(folder)
    assert llm.model_config.max_model_len == 9
    assert np.abs(ours(llm) - theirs(folder)).max() <= 1e-5


def test_modules_have_the_order_of_the_file_or_of_their_idx(checkpoint, load):
    dense = [DenseLayer(in_features=32, out_features=12), DenseLayer(in_features=12, out_features=5)]
    write_sentence_transformers(checkpoint, dense=dense)
    expected = ours(load(checkpoint))
    path = checkpoint / "modules.json"
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))
    assert np.array_equal(ours(load(checkpoint)), expected)


@pytest.mark.parametrize("kind", ["sentence_transformers.models.pooling.Pooling", "pylate.models.Pooling.Pooling"])
def test_types_are_matched_by_their_last_name(checkpoint, load, kind):
    write_sentence_transformers(checkpoint, pooling="max")
    path = checkpoint / "modules.json"
    modules = json.loads(path.read_text())
    modules[1]["type"] = kind
    path.write_text(json.dumps(modules))
    assert load(checkpoint).model_config.pooler_config.seq_pooling_type == "MAX"


def test_the_user_decides_over_the_files(checkpoint, load):
    write_sentence_transformers(checkpoint, pooling="max", normalize=True)
    config = load(
        checkpoint, pooler_config={"pooling_type": "LAST", "use_activation": False}
    ).model_config.pooler_config
    assert (config.seq_pooling_type, config.use_activation) == ("LAST", False)
    config = load(checkpoint, pooler_config={"use_activation": False}).model_config.pooler_config
    assert (config.seq_pooling_type, config.use_activation) == ("MAX", False)
    config = load(checkpoint, pooler_config={"pooling_type": "ALL"}).model_config.pooler_config
    assert (config.seq_pooling_type, config.tok_pooling_type, config.use_activation) == ("MAX", "ALL", True)


def test_without_the_files_the_architecture_decides(checkpoint, load):
    llm = load(checkpoint)
    assert llm.model_config.pooler_config.seq_pooling_type == "CLS"
    assert np.allclose(np.linalg.norm(ours(llm), axis=1), 1, atol=1e-5)


def test_a_modules_json_without_pooling_decides_nothing(checkpoint, load):
    (checkpoint / "modules.json").write_text(
        '[{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}]'
    )
    config = load(checkpoint).model_config.pooler_config
    assert (config.seq_pooling_type, config.use_activation) == ("CLS", None)


@pytest.mark.parametrize("how", LAYOUTS, ids=str)
def test_several_pooling_modes_at_once_equal_theirs(checkpoint, load, theirs, how):
    layout, normalize = how
    write_sentence_transformers(checkpoint, pooling=["cls", "max", "mean"], layout=layout, normalize=normalize, size=32)
    vectors = ours(load(checkpoint))
    assert vectors.shape == (len(TEXTS), 96)
    assert np.abs(vectors - theirs(checkpoint)).max() <= 1e-5


def test_old_flags_that_are_all_off_have_their_original_meaning(checkpoint, load, theirs):
    write_sentence_transformers(checkpoint, layout="old")
    change(checkpoint / "1_Pooling" / "config.json", **dict.fromkeys(OLD_FLAGS.values(), False))
    assert np.abs(ours(load(checkpoint)) - theirs(checkpoint)).max() <= 1e-5
