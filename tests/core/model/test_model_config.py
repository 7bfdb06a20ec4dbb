"""ResolvedModel: attributes that vLLM's model config has, and the size of records."""

from dataclasses import fields, replace

from millpond.model.spec import (
    EmbeddingSettings,
    ModelIdentity,
    ModuleChain,
    ModuleSettings,
    MultimodalSettings,
    ResolvedModel,
)
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


def test_the_digest_covers_settings_and_not_places():
    moved = replace(CONFIG, identity=replace(CONFIG.identity, model="other", path="/elsewhere", source="hub"))
    assert moved.digest == replace(CONFIG, dtype="bfloat16").digest == CONFIG.digest
    changed = [
        replace(CONFIG, max_model_len=9),
        replace(CONFIG, pooler_config=PoolerConfig(seq_pooling_type="CLS")),
        replace(CONFIG, embedding=EmbeddingSettings(size=4)),
        replace(CONFIG, hf_config=CheckpointConfig({"architectures": ["BertForMaskedLM"], "hidden_size": 3})),
        replace(CONFIG, identity=replace(CONFIG.identity, converter="embed")),
    ]
    assert len({CONFIG.digest, *(model.digest for model in changed)}) == 1 + len(changed)


def test_the_digest_names_modules_by_their_place_in_the_folder(tmp_path):
    digests = set()
    for folder in (tmp_path / "a", tmp_path / "b"):
        module = ModuleSettings(type="Dense", path=folder / "2_Dense", config={"out_features": 8})
        identity = replace(CONFIG.identity, path=str(folder))
        digests.add(replace(CONFIG, identity=identity, modules=ModuleChain(after=(module,))).digest)
    assert len(digests) == 1
