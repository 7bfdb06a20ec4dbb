"""Pooling, Dense and Normalize modules equal sentence-transformers, for old and new file layouts."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from millpond import CheckpointError, UnknownNameError
from millpond.testing.checkpoints import DenseLayer, tiny, write_sentence_transformers
from millpond.testing.sentence_transformers import OLD_FLAGS

TEXTS = [
    "a",
    "the cat sat on the mill",
    "rain, snow and wind over the river",
    "zyzzyva",
    "The NIGHT was Cold; the road was long, and the moon (red and small) lay on the lake.",
    "One TWO " * 40,  # over the limit
    "!",
]
POOLING_TYPES = {
    "cls": "CLS",
    "max": "MAX",
    "mean": "MEAN",
    "mean_sqrt_len_tokens": "MEAN_SQRT_LEN",
    "weightedmean": "WEIGHTED_MEAN",
    "lasttoken": "LAST",
}
ACTIVATIONS = {
    "Tanh": "torch.nn.modules.activation.Tanh",
    "Identity": "torch.nn.modules.linear.Identity",
    "GELU": "torch.nn.modules.activation.GELU",
    "ReLU": "torch.nn.modules.activation.ReLU",
    "SiLU": "torch.nn.modules.activation.SiLU",
    "Sigmoid": "torch.nn.modules.activation.Sigmoid",
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A checkpoint without files of sentence-transformers."""
    return tiny("BertModel", tmp_path_factory.mktemp("bare"))


@pytest.fixture
def checkpoint(bare, tmp_path):
    return shutil.copytree(bare, tmp_path / "checkpoint")


@pytest.fixture
def theirs(sentence_transformers):
    """The embeddings of sentence-transformers for the same folder."""

    def theirs(folder):
        model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
        return model.encode(TEXTS, batch_size=3, show_progress_bar=False)

    return theirs


def ours(llm):
    outputs = llm.embed(TEXTS, truncate_prompt_tokens=-1, use_tqdm=False)
    return np.stack([output.outputs.array for output in outputs])


def change(path, **fields):
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | fields))


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
def test_what_sentence_transformers_saves_is_loaded(bare, tmp_path, load, sentence_transformers, mode):
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


def test_special_tokens_in_a_text_stay_such_in_lower_case(tmp_path, load, sentence_transformers):
    folder = tiny("BertModel", tmp_path)
    write_sentence_transformers(folder, max_seq_length=64, do_lower_case=True)
    texts = ["The [MASK] of the Mill [SEP] and", "\u039f\u0394\u039f\u03a3 \u0130stanbul"]
    expected = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(texts)
    vectors = [output.outputs.array for output in load(folder).embed(texts)]
    np.testing.assert_allclose(np.stack(vectors), expected, atol=1e-5)
    (asked,) = load(folder).embed(texts[0])
    assert 4 in asked.prompt_token_ids  # [MASK]


def test_text_is_lower_cased_where_the_files_say_so(tmp_path, load, theirs):
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


def test_the_transformer_may_lie_in_a_folder_of_its_own(bare, tmp_path, load, theirs):
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


def test_modules_stand_in_the_order_of_the_file_or_of_their_idx(checkpoint, load):
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


# --- precedence -----------------------------------------------------------------------------------------------------


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


def test_old_flags_that_are_all_off_mean_what_they_mean_there(checkpoint, load, theirs):
    write_sentence_transformers(checkpoint, layout="old")
    change(checkpoint / "1_Pooling" / "config.json", **dict.fromkeys(OLD_FLAGS.values(), False))
    assert np.abs(ours(load(checkpoint)) - theirs(checkpoint)).max() <= 1e-5


# --- unsupported modules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 12])
def test_a_dense_module_with_a_residual_equals_theirs(bare, tmp_path, load, sentence_transformers, size):
    torch.manual_seed(7)
    kinds = sentence_transformers.sentence_transformer.modules
    head = kinds.Dense(32, size, init_bias=torch.randn(size), use_residual=True)
    modules = [kinds.Transformer(str(bare)), kinds.Pooling(32), head]
    model = sentence_transformers.SentenceTransformer(modules=modules, device="cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    vectors = ours(load(tmp_path / "saved"))
    assert np.abs(vectors - model.encode(TEXTS, show_progress_bar=False)).max() <= 1e-5


def test_a_dense_module_that_names_no_activation_has_that_of_theirs(checkpoint, load, theirs):
    dense = [DenseLayer(in_features=32, out_features=12, activation=ACTIVATIONS["Identity"])]
    write_sentence_transformers(checkpoint, dense=dense, normalize=False)
    path = checkpoint / "2_Dense" / "config.json"
    config = json.loads(path.read_text())
    del config["activation_function"]
    path.write_text(json.dumps(config))
    np.testing.assert_allclose(ours(load(checkpoint)), theirs(checkpoint), atol=1e-5)


@pytest.mark.parametrize("position", [2, 3], ids=["Dense", "Normalize"])
def test_a_module_that_reads_tokens_is_refused(checkpoint, load, position):
    write_sentence_transformers(checkpoint, dense=[DenseLayer(in_features=32, out_features=32)])
    home = checkpoint / json.loads((checkpoint / "modules.json").read_text())[position]["path"]
    home.mkdir(exist_ok=True)
    config = json.loads((home / "config.json").read_text()) if (home / "config.json").exists() else {}
    (home / "config.json").write_text(json.dumps(config | {"module_input_name": "token_embeddings"}))
    with pytest.raises(CheckpointError, match="token_embeddings"):
        load(checkpoint)


@pytest.mark.parametrize("name", ["LayerNorm", "LSTM", "WordWeights", "SparseAutoEncoder", "elsewhere.Module"])
def test_a_module_that_is_not_applied_is_refused(checkpoint, load, name):
    write_sentence_transformers(checkpoint)
    path = checkpoint / "modules.json"
    modules = json.loads(path.read_text())
    modules.insert(
        2,
        {
            "idx": 2,
            "name": "2",
            "path": f"2_{name}",
            "type": name if "." in name else f"sentence_transformers.models.{name}",
        },
    )
    path.write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=rf"modules\.json.*{name}"):
        load(checkpoint)


def test_dropout_does_nothing_when_a_model_is_served(checkpoint, load, theirs):
    write_sentence_transformers(checkpoint)
    path = checkpoint / "modules.json"
    modules = json.loads(path.read_text())
    modules.insert(2, {"idx": 2, "name": "2", "path": "2_Dropout", "type": "sentence_transformers.models.Dropout"})
    path.write_text(json.dumps(modules))
    (checkpoint / "2_Dropout").mkdir()
    (checkpoint / "2_Dropout" / "config.json").write_text('{"dropout": 0.5}')
    assert np.abs(ours(load(checkpoint)) - theirs(checkpoint)).max() <= 1e-5


# --- damaged files --------------------------------------------------------------------------------------------------


def test_an_unknown_pooling_mode_is_refused_with_those_known(checkpoint, load):
    write_sentence_transformers(checkpoint, pooling="median")
    with pytest.raises(
        CheckpointError, match=r"1_Pooling/config\.json: unknown pooling mode 'median'\. Available: .*mean"
    ):
        load(checkpoint)


@pytest.mark.parametrize("mode", [3, [["mean"]], [None], {"mean": True}, []], ids=str)
def test_a_pooling_mode_of_another_type_is_refused(checkpoint, load, mode):
    write_sentence_transformers(checkpoint)
    change(checkpoint / "1_Pooling" / "config.json", pooling_mode=mode)
    with pytest.raises(CheckpointError, match=r"1_Pooling/config\.json"):
        load(checkpoint)


def test_a_pooling_module_without_its_config_is_refused(checkpoint, load):
    write_sentence_transformers(checkpoint)
    shutil.rmtree(checkpoint / "1_Pooling")
    with pytest.raises(CheckpointError, match=r"names a Pooling module in '1_Pooling', but .*config\.json is missing"):
        load(checkpoint)


@pytest.mark.parametrize("text", ["{}", '"modules"', "[1]", "[[]]", "null"])
def test_a_modules_json_of_another_form_is_refused(checkpoint, load, text):
    (checkpoint / "modules.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"modules\.json should hold a list of objects"):
        load(checkpoint)


@pytest.mark.parametrize("path", ["../outside", "/etc", 7, None, "1_Pooling/../../x"])
def test_a_module_outside_the_folder_is_refused(checkpoint, load, path):
    write_sentence_transformers(checkpoint)
    modules = json.loads((checkpoint / "modules.json").read_text())
    modules[1]["path"] = path
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=r"modules\.json names .*, which is not a path inside"):
        load(checkpoint)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"bias": torch.ones(4)}, r"has none of linear\.weight, dense\.weight, weight\. Available: bias"),
        ({"linear.weight": torch.ones(4, 31)}, r"'linear.weight' .* has \[4, 31\], .* implies \[4, 32\]"),
        ({"linear.weight": torch.ones(4, 32)}, "has no bias"),
        ({"linear.weight": torch.ones(4, 32), "linear.bias": torch.ones(5)}, r"'linear.bias' .* has \[5\]"),
        ({"linear.weight": torch.full((4, 32), torch.nan), "linear.bias": torch.ones(4)}, "'linear.weight' .* NaN"),
    ],
    ids=["no weight", "shape", "no bias", "shape of the bias", "NaN"],
)
def test_dense_weights_that_do_not_fit_are_named(checkpoint, load, tensors, message):
    write_sentence_transformers(checkpoint, dense=[DenseLayer(in_features=32, out_features=4)])
    save_file(tensors, checkpoint / "2_Dense" / "model.safetensors")
    with pytest.raises(CheckpointError, match=message) as caught:
        load(checkpoint)
    assert "2_Dense" in str(caught.value)


def test_dense_modules_whose_sizes_do_not_meet_are_refused_when_loaded(checkpoint, load):
    dense = [DenseLayer(in_features=32, out_features=8), DenseLayer(in_features=9, out_features=4)]
    write_sentence_transformers(checkpoint, dense=dense)
    with pytest.raises(CheckpointError, match=r"3_Dense expects 9 dimensions, .* returns 8"):
        load(checkpoint)


def test_an_unknown_dense_activation_is_refused_and_never_imported(checkpoint, load, tmp_path, monkeypatch):
    (tmp_path / "evil_activation.py").write_text("import sys; sys.evil_activation_ran = True\nclass Boom: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    dense = [DenseLayer(in_features=32, out_features=4, activation="evil_activation.Boom")]
    write_sentence_transformers(checkpoint, dense=dense)
    with pytest.raises(UnknownNameError, match=r"Unknown activation 'boom'.*Available: celu, elu"):
        load(checkpoint)
    assert not hasattr(sys, "evil_activation_ran")


def test_dense_weights_without_a_file_are_named(checkpoint, load):
    write_sentence_transformers(checkpoint, dense=[DenseLayer(in_features=32, out_features=4)])
    (checkpoint / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"2_Dense is a Dense module without weights: .*model\.safetensors"):
        load(checkpoint)


def test_pickled_dense_weights_are_read_on_request_alone(checkpoint, load):
    write_sentence_transformers(checkpoint, dense=[DenseLayer(in_features=32, out_features=4, pickled=True)])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is a pickle.*allow_pickle=True"):
        load(checkpoint)
    vectors = ours(load(checkpoint, allow_pickle=True))
    state = torch.load(checkpoint / "2_Dense" / "pytorch_model.bin", weights_only=True)
    save_file(state, checkpoint / "2_Dense" / "model.safetensors")
    assert np.array_equal(ours(load(checkpoint)), vectors)


@pytest.mark.parametrize("key", ["weight", "linear.weight", "dense.weight"])
def test_dense_weights_bear_one_of_three_names(checkpoint, load, key):
    write_sentence_transformers(checkpoint, dense=[DenseLayer(in_features=32, out_features=4)])
    expected = ours(load(checkpoint))
    path = checkpoint / "2_Dense" / "model.safetensors"
    tensors = load_file(path)
    save_file({key: tensors["linear.weight"], key.replace("weight", "bias"): tensors["linear.bias"]}, path)
    assert np.array_equal(ours(load(checkpoint)), expected)
