"""Native models and the fallback: equal results, and which of the two loads a checkpoint."""

import pytest
from fallback_kit import BARE, asked, error

from millpond import InvalidInputError, PoolingParams, UnknownNameError
from millpond.plugin.specs import ArchitectureSpec
from millpond.testing.checkpoints import tiny
from millpond.types.config import CheckpointConfig
from millpond_transformers.resolve import backbone

# --- equal to what is served natively -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("BertModel", "embed"),
        pytest.param("RobertaModel", "token_embed", marks=pytest.mark.slow),
        pytest.param("ModernBertModel", "embed", marks=pytest.mark.slow),
        pytest.param("GPT2Model", "embed", marks=pytest.mark.slow),
        pytest.param("LlamaModel", "embed", marks=pytest.mark.slow),
        ("Qwen3ForCausalLM", "embed"),
        pytest.param("Gemma3TextModel", "embed", marks=pytest.mark.slow),
        ("BertForSequenceClassification", "classify"),
        pytest.param("RobertaForSequenceClassification", "token_classify", marks=pytest.mark.slow),
        pytest.param("ModernBertForSequenceClassification", "classify", marks=pytest.mark.slow),
        pytest.param("MistralForSequenceClassification", "classify", marks=pytest.mark.slow),
        pytest.param("BertForTokenClassification", "token_classify", marks=pytest.mark.slow),
        ("LlamaForTokenClassification", "token_classify"),
    ],
)
def test_native_models_equal_the_fallback(tmp_path, load, name, task):
    folder = tiny(name, tmp_path, **({"num_labels": 3} if "Classification" in name else {}))
    native, other = load(folder), load(folder, model_impl="transformers")
    assert (native.model_config.identity.implementation, other.model_config.identity.implementation) == (
        "native",
        "transformers",
    )
    for params in (BARE, PoolingParams()):
        actual, expected = (asked(llm, task, params=params) for llm in (other, native))
        assert error(actual, expected) <= 1e-4
    assert set(other.model_config.tasks) <= set(native.model_config.tasks)
    assert other.model_config.max_model_len == native.model_config.max_model_len


def test_a_classifier_of_token_rows_equals_the_native_one(tmp_path, load):
    folder = tiny("Qwen3ForCausalLM", tmp_path)
    overrides = {"architectures": ["Qwen3ForSequenceClassification"], "classifier_from_token_ids": [5, 6]}
    overrides |= {"method": "from_2_way_softmax"}
    native, other = (load(folder, hf_overrides=overrides, model_impl=way) for way in ("native", "transformers"))
    assert error(asked(other, "classify"), asked(native, "classify")) <= 1e-4


# --- which of the two -----------------------------------------------------------------------------------------------


def test_native_models_take_precedence(tmp_path, load):
    folder = tiny("BertModel", tmp_path)
    for way in ("auto", "native", "vllm"):
        assert load(folder, model_impl=way).model_config.identity.implementation == "native"
    with pytest.raises(InvalidInputError, match=r"model_impl='ray'.* 'auto', 'native', 'transformers'"):
        load(folder, model_impl="ray")


def test_unknown_architectures_are_refused_with_solutions(tmp_path, load):
    folder = tiny("BertModel", tmp_path, architectures=["MillpondModel"])
    with pytest.raises(UnknownNameError) as caught:
        load(folder)
    message = str(caught.value)
    assert message.startswith("Unknown architecture 'MillpondModel'. Available: ")
    assert "has no model 'MillpondModel'" in message
    assert "register_architectures" in message
    assert "hf_overrides={'architectures': [...]}" in message


@pytest.mark.parametrize(
    ("name", "way", "message"),
    [
        ("ElectraModel", "native", r"model_impl='native' was requested: 'auto' allows every"),
        ("GritLMModel", "transformers", r"has no model 'GritLMModel'.*model_impl='transformers'"),
        ("ViTModel", "auto", "'ViTModel' of transformers reads pixel_values instead of tokens"),
        ("PreTrainedModel", "auto", "has no model 'PreTrainedModel'"),
        ("AutoModel", "auto", "has no model 'AutoModel'"),
    ],
)
def test_the_requested_implementation_must_exist(tmp_path, load, name, way, message):
    folder = tiny("BertModel", tmp_path, architectures=[name])
    with pytest.raises(UnknownNameError, match=message):
        load(folder, model_impl=way)


def test_embedding_gemma_2_pools_by_the_mean():
    spec = backbone("EmbeddingGemma2Model", CheckpointConfig({"model_type": "embedding_gemma2"}))
    assert isinstance(spec, ArchitectureSpec), spec
    assert spec.pooling.type == "MEAN"


@pytest.mark.parametrize("name", ["AltCLIPModel", "ChineseCLIPModel", "MetaClip2Model"])
def test_dual_encoders_without_a_native_architecture_are_refused_with_the_reason(name):
    assert "has separate models for texts and other inputs" in backbone(name, CheckpointConfig({}))
