"""ResolvedModel: attributes that vLLM's model config has, and the size of records."""

from dataclasses import fields

from millpond.model.spec import EmbeddingSettings, ModelIdentity, MultimodalSettings, ResolvedModel
from millpond.types.config import CheckpointConfig, PoolerConfig

CONFIG = ResolvedModel(
    identity=ModelIdentity(model="m", path="p", source="s", architecture="BertModel"),
    hf_config=CheckpointConfig({"architectures": ["BertForMaskedLM"]}),
    max_model_len=8,
    dtype="float32",
    pooler_config=PoolerConfig(),
    tasks=("embed",),
    embedding=EmbeddingSettings(size=3),
    multimodal=MultimodalSettings(modalities=("text", "image")),
)


def test_the_model_config_has_the_attributes_of_vllm():
    assert (CONFIG.runner_type, CONFIG.served_model_name, CONFIG.embedding_size) == ("pooling", "m", 3)
    assert (CONFIG.architecture, CONFIG.architectures) == ("BertModel", ["BertForMaskedLM", "BertModel"])
    assert CONFIG.is_multimodal_model
    assert CONFIG.io_processor_plugin is None


def test_no_group_of_settings_has_more_than_twelve_fields():
    kinds = [*(type(getattr(CONFIG, it.name)) for it in fields(CONFIG))]
    assert max(len(fields(kind)) for kind in kinds if hasattr(kind, "__dataclass_fields__")) <= 12
