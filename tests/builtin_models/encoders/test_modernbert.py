"""ModernBERT, with and without classifiers: equal to transformers, also for texts longer than the window."""

from functools import partial

import numpy as np
import pytest
import torch
from model_kit import min_embedding_cosine
from safetensors.torch import load_file

from millpond import LLM, CheckpointError, PoolingParams
from millpond.testing.checkpoints import tiny, vocabulary, write_sentence_transformers
from millpond.testing.comparisons import ABSENT, change_config, random_prompts, relative_error, rewrite

VOCABULARY = len(vocabulary("bert"))
prompts_of = partial(random_prompts, VOCABULARY)
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 9)
FEW_LENGTHS = (1, 9, 40)  # the window of the tiny model covers 8 tokens on each side
TOLERANCE = 1e-5  # relative to the largest value
SEQUENCE, TOKEN = "ModernBertForSequenceClassification", "ModernBertForTokenClassification"


@pytest.fixture(scope="session")
def model(transformers):
    """The model of transformers, with the weights loaded strictly."""

    def model(folder):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
        (name,) = config.architectures
        model = getattr(transformers, name)(config)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model.eval()

    return model


@pytest.fixture(scope="session")
def reference(model):
    """The hidden states of transformers."""

    def reference(folder, prompts, *, dtype=torch.float32):
        module = model(folder).to(dtype)
        with torch.inference_mode():
            return [module(torch.tensor([ids])).last_hidden_state[0].float().numpy() for ids in prompts]

    return reference


@pytest.fixture(scope="session")
def logits(model):
    """The logits of transformers, [num_labels] or [length, num_labels]."""

    def logits(folder, prompts):
        module = model(folder)
        with torch.inference_mode():
            return [module(torch.tensor([ids])).logits[0].numpy() for ids in prompts]

    return logits


# --- hidden states --------------------------------------------------------------------------------------------------


def test_a_batch_of_mixed_lengths_equals_transformers(tmp_path, assert_equal_in_any_batch, reference):
    folder = tiny("ModernBertModel", tmp_path)
    prompts = prompts_of(LENGTHS)
    assert_equal_in_any_batch(folder, prompts, reference(folder, prompts))


@pytest.mark.parametrize(
    "shape",
    [
        {"attention_bias": True},
        {"mlp_bias": True},
        {"norm_bias": True},
        {"norm_eps": 0.1},
        {"num_hidden_layers": 1},
        {"global_attn_every_n_layers": 1},
        {"global_attn_every_n_layers": 2, "num_hidden_layers": 5},
        {"global_attn_every_n_layers": ABSENT},
        {"layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]},
        {"local_attention": 2},
        {"local_attention": 7},
        {"local_attention": ABSENT},
        {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 7},
        {"global_rope_theta": 500.0, "local_rope_theta": 100.0},
        {"global_rope_theta": ABSENT, "local_rope_theta": ABSENT},
        {"hidden_activation": "silu"},
        {"hidden_activation": "gelu_pytorch_tanh"},
    ],
    ids=lambda shape: str({key: "absent" if value is ABSENT else value for key, value in shape.items()}),
)
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_shape_in_config_json_is_used(tmp_path, equals_reference, shape, deterministic):
    folder = tiny("ModernBertModel", tmp_path, **{key: value for key, value in shape.items() if value is not ABSENT})
    assert equals_reference(change_config(folder, shape), prompts_of(FEW_LENGTHS), batch_invariant=deterministic)


def test_the_window_has_an_effect(tmp_path, load, hidden):
    folder = tiny("ModernBertModel", tmp_path)
    prompts = prompts_of(FEW_LENGTHS)
    actual = hidden(load(folder), prompts)
    assert relative_error(actual, hidden(load(folder, hf_overrides={"local_attention": 18}), prompts)) > 1e-3
    assert relative_error(actual, hidden(load(folder, hf_overrides={"local_attention": 17}), prompts)) == 0


def test_without_a_local_base_the_global_one_is_used(tmp_path, load, hidden):
    """The first implementation interpreted null this way."""
    folder = tiny("ModernBertModel", tmp_path)
    prompts = prompts_of(FEW_LENGTHS)
    actual = hidden(load(folder, hf_overrides={"local_rope_theta": None}), prompts)
    assert relative_error(actual, hidden(load(folder, hf_overrides={"local_rope_theta": 160000.0}), prompts)) == 0
    assert relative_error(actual, hidden(load(folder), prompts)) > 1e-3


@pytest.mark.parametrize("scaling", [{"rope_type": "linear", "factor": 4.0}, {"rope_type": "yarn", "factor": 4.0}])
def test_rotary_embeddings_of_each_layer_type_equal_transformers(tmp_path, load, hidden, equals_reference, scaling):
    rope_parameters = {
        "full_attention": {"rope_theta": 700.0, "original_max_position_embeddings": 16, **scaling},
        "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
    }
    prompts = prompts_of(FEW_LENGTHS)
    folder = tiny("ModernBertModel", tmp_path, rope_parameters=rope_parameters, hidden_size=64)
    change_config(folder, {"global_rope_theta": ABSENT, "local_rope_theta": ABSENT})
    assert equals_reference(folder, prompts)
    actual = hidden(load(folder), prompts)
    other = {"rope_parameters": {"full_attention": {"rope_type": "default"}}}
    assert relative_error(hidden(load(folder, hf_overrides=other), prompts), actual) > 1e-3


@pytest.mark.parametrize("kernel", ["native", "sdpa", "reference"])
@pytest.mark.parametrize("head_dim", [8, 64])
def test_every_kernel_of_attention_takes_the_window(tmp_path, load, hidden, reference, kernel, head_dim):
    if kernel == "native" and not pytest.importorskip("millpond_kernels.native").is_available():
        pytest.skip("needs the kernels compiled for this processor")
    shape = {"hidden_size": 2 * head_dim, "num_attention_heads": 2, "max_position_embeddings": 512}
    folder = tiny("ModernBertModel", tmp_path, **shape, local_attention=128)
    prompts = prompts_of((1, 300, 17, 17, 65, 64, 200))
    expected = reference(folder, prompts)
    assert relative_error(hidden(load(folder, kernels={"attention": kernel}), prompts), expected) <= TOLERANCE


def test_bfloat16_is_near_transformers(tmp_path, load, hidden, reference):
    folder = tiny("ModernBertModel", tmp_path)
    prompts = prompts_of(LENGTHS)
    exact = reference(folder, prompts)
    actual = hidden(load(folder, dtype="bfloat16"), prompts)
    theirs = relative_error(reference(folder, prompts, dtype=torch.bfloat16), exact)
    assert 1e-4 < relative_error(actual, exact) <= 2 * theirs < 0.1


def test_int8_is_near_float32(tmp_path, load):
    folder = tiny("ModernBertModel", tmp_path, hidden_size=128, intermediate_size=256)
    prompts = prompts_of(LENGTHS)
    assert 0.99 < min_embedding_cosine(load, folder, prompts, quantization="int8") < 1 - 1e-7


@pytest.mark.parametrize("settings", [{}, {"quantization": "int8"}, {"dtype": "bfloat16"}], ids=str)
@pytest.mark.parametrize("size", [32, 128])
def test_deterministic_results_are_bit_identical_in_every_batch(tmp_path, load, hidden, settings, size):
    folder = tiny("ModernBertModel", tmp_path, hidden_size=size, intermediate_size=50)
    prompts = prompts_of(LENGTHS)
    together = hidden(load(folder, batch_invariant=True, **settings), prompts)
    small = load(folder, batch_invariant=True, max_num_batched_tokens=40, max_num_seqs=3, **settings)
    assert all(map(np.array_equal, hidden(small, prompts), together))
    assert all(np.array_equal(hidden(small, prompt)[0], rows) for prompt, rows in zip(prompts, together, strict=True))


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_deterministic_results_are_bit_identical_on_several_threads(tmp_path, hidden, activation):
    shape = {"max_position_embeddings": 2048, "hidden_size": 64, "intermediate_size": 90, "local_attention": 128}
    folder = tiny("ModernBertModel", tmp_path, hidden_activation=activation, **shape)
    (long,) = prompts_of([1801])
    with (
        LLM(str(folder), batch_invariant=True, num_workers=2, max_num_batched_tokens=8192) as many,
        LLM(str(folder), batch_invariant=True, num_workers=1, max_num_batched_tokens=8192) as one,
    ):
        alone = hidden(many, long)[0]
        np.testing.assert_array_equal(alone, hidden(one, long)[0])
        np.testing.assert_array_equal(alone, hidden(many, [[5, 6, 7], long, [9] * 700])[1])


# --- classifiers ----------------------------------------------------------------------------------------------------


def softmax(logits):
    return torch.tensor(logits).softmax(-1).numpy()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"classifier_pooling": "cls"},
        {"classifier_bias": True, "norm_bias": True},
        {"classifier_activation": "relu"},
        {"num_labels": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_classes_of_texts_equal_transformers(tmp_path, load, logits, change, dtype):
    folder = tiny(SEQUENCE, tmp_path, **{"num_labels": 3, **change})
    prompts = prompts_of(LENGTHS)
    actual = [output.outputs.array for output in load(folder, dtype=dtype).classify(prompts, use_tqdm=False)]
    expected = [softmax(rows) for rows in logits(folder, prompts)]
    assert relative_error(actual, expected) <= (TOLERANCE if dtype == "float32" else 0.1)


def test_the_user_decides_how_a_classifier_pools(tmp_path, load, logits):
    folder = tiny(SEQUENCE, tmp_path, num_labels=3)
    prompts = prompts_of(FEW_LENGTHS)
    assert load(folder).model_config.pooler_config.seq_pooling_type == "MEAN"
    change = {"classifier_pooling": None}
    assert load(folder, hf_overrides=change).model_config.pooler_config.seq_pooling_type == "CLS"
    backbone = load(folder, hf_overrides={"architectures": ["ModernBertModel"]})
    assert backbone.model_config.pooler_config.seq_pooling_type == "CLS"
    llm = load(folder, pooler_config={"pooling_type": "CLS"})
    actual = [output.outputs.array for output in llm.classify(prompts, use_tqdm=False)]
    change_config(folder, {"classifier_pooling": "cls"})
    assert relative_error(actual, [softmax(rows) for rows in logits(folder, prompts)]) <= TOLERANCE


@pytest.mark.parametrize("name", [SEQUENCE, TOKEN])
def test_classes_of_tokens(tmp_path, load, logits, name):
    folder = tiny(TOKEN, tmp_path, num_labels=4)
    prompts = prompts_of(LENGTHS)
    expected = [softmax(rows) for rows in logits(folder, prompts)]
    change_config(folder, {"architectures": [name]})
    outputs = load(folder).encode(prompts, pooling_task="token_classify", use_tqdm=False)
    assert relative_error([output.outputs.array for output in outputs], expected) <= TOLERANCE


def test_logits_are_returned_without_activation(tmp_path, load, logits):
    folder = tiny(SEQUENCE, tmp_path, num_labels=3)
    prompts = prompts_of(FEW_LENGTHS)
    outputs = load(folder).classify(prompts, pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    assert relative_error([output.outputs.array for output in outputs], logits(folder, prompts)) <= TOLERANCE


def test_pairs_are_scored_by_one_label(tmp_path, load, logits):
    folder = tiny(SEQUENCE, tmp_path, num_labels=1)
    llm = load(folder)
    (output,) = llm.score("the old mill", "by the pond", use_tqdm=False)
    ids = output.prompt_token_ids
    (expected,) = logits(folder, [ids])
    assert abs(output.outputs.score - torch.tensor(expected[0]).sigmoid().item()) <= TOLERANCE


def test_a_classifier_in_int8_and_with_the_same_bits(tmp_path, load):
    folder = tiny(SEQUENCE, tmp_path, num_labels=3)
    prompts = prompts_of(LENGTHS)
    llm = load(folder, quantization="int8", batch_invariant=True)
    together = [output.outputs.array for output in llm.classify(prompts, use_tqdm=False)]
    alone = [llm.classify([prompt], use_tqdm=False)[0].outputs.array for prompt in prompts]
    assert all(map(np.array_equal, together, alone))


# --- names and files ------------------------------------------------------------------------------------------------


def test_the_encoder_of_other_models_is_loaded(tmp_path, load, hidden):
    prompts = prompts_of(FEW_LENGTHS)
    expected = hidden(load(tiny("ModernBertModel", tmp_path / "bare")), prompts)
    folder = tiny("ModernBertModel", tmp_path / "masked", prefix="model.")
    more = {"head.dense.weight": torch.ones(32, 32), "head.norm.weight": torch.ones(32), "decoder.bias": torch.ones(9)}
    rewrite(folder, lambda tensors: tensors | more)
    assert relative_error(hidden(load(folder), prompts), expected) == 0
    llm = load(tiny(SEQUENCE, tmp_path / "classifier"), hf_overrides={"architectures": ["ModernBertModel"]})
    assert relative_error(hidden(llm, prompts), expected) == 0


@pytest.mark.parametrize("name", ["ModernBertModel", SEQUENCE])
def test_checkpoints_saved_by_transformers_are_loaded(tmp_path, load, hidden, transformers, name):
    torch.manual_seed(4)
    model_class = getattr(transformers, name)
    settings = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48}
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)
    config = model_class.config_class(vocab_size=50, max_position_embeddings=40, local_attention=8, **settings, **ids)
    model = model_class(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path)
    prompt = list(range(10, 48))
    backbone = model if name == "ModernBertModel" else model.model
    with torch.inference_mode():
        expected = backbone(torch.tensor([prompt])).last_hidden_state[0].numpy()
    llm = load(tmp_path, hf_overrides={"architectures": ["ModernBertModel"]})
    assert llm.model_config.max_model_len == 40
    assert relative_error(hidden(llm, prompt), [expected]) <= TOLERANCE
    if name == SEQUENCE:
        with torch.inference_mode():
            probabilities = softmax(model(torch.tensor([prompt])).logits[0].numpy())
        (output,) = load(tmp_path).classify([prompt], use_tqdm=False)
        assert relative_error([output.outputs.array], [probabilities]) <= TOLERANCE


def test_the_first_token_is_pooled_by_default(tmp_path, load, hidden):
    folder = tiny("ModernBertModel", tmp_path)
    llm = load(folder)
    text = "the old mill by the pond"
    rows = hidden(llm, [text])[0]
    (output,) = llm.embed([text], use_tqdm=False)
    np.testing.assert_allclose(output.outputs.array, rows[0] / np.linalg.norm(rows[0]), rtol=0, atol=1e-6)
    write_sentence_transformers(folder, pooling="mean")
    (output,) = load(folder).embed([text], use_tqdm=False)
    mean = rows.mean(axis=0)
    np.testing.assert_allclose(output.outputs.array, mean / np.linalg.norm(mean), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ModernBertModel", {"layer_types": ["full_attention"]}, "for each of 4 layers; got"),
        ("ModernBertModel", {"layer_types": ["mamba"] * 4}, "layer_types must have 'sliding_attention' or"),
        ("ModernBertModel", {"local_attention": 0}, "local_attention must be a positive number"),
        ("ModernBertModel", {"local_attention": True}, "local_attention must be .* got True"),
        ("ModernBertModel", {"num_attention_heads": 5}, "num_attention_heads 5"),
        ("ModernBertModel", {"hidden_activation": "laplace"}, "hidden_act 'laplace'"),
        ("ModernBertModel", {"attention_bias": True}, r"missing \(8\)"),
        ("ModernBertModel", {"rope_parameters": {"full_attention": {"rope_type": "spiral"}}}, "rope_type 'spiral'"),
        (
            SEQUENCE,
            {"classifier_pooling": "max"},
            "classifier_pooling must be one of 'cls', 'bos', 'mean', 'late'; got 'max'",
        ),
        (SEQUENCE, {"classifier_pooling": "late"}, r"unsupported .* 'late' for ModernBERT\. Supported: 'cls', 'mean'"),
        (SEQUENCE, {"classifier_bias": True}, r"missing \(1\): classifier\.dense\.bias"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_a_checkpoint_error(tmp_path, load, name, change, message):
    with pytest.raises(CheckpointError, match=message):
        load(change_config(tiny(name, tmp_path), change))


def test_a_missing_and_an_extra_weight_are_named(tmp_path, load):
    name = "layers.1.attn_norm.weight"
    folder = tiny("ModernBertModel", tmp_path)
    rewrite(folder, lambda tensors: {key.replace("1.attn_norm", "0.attn_norm"): tensors[key] for key in tensors})
    message = rf"missing \(1\): layers\.1\.attention_norm\.weight; unused \(1\): {name.replace('1', '0')}"
    with pytest.raises(CheckpointError, match=message):
        load(folder)
