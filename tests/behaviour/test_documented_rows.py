"""Every architecture, suffix and task that vLLM's documents on pooling models list works with a tiny checkpoint."""

import numpy as np
import pytest
from reward_kit import internlm_reward, qwen_reward
from safetensors.torch import load_file

from millpond.testing.checkpoints import random_tensors, tiny, write_weights
from millpond.testing.comparisons import change_config
from millpond_models.testing.dual_encoders import tiny_dual_encoder

EMBED_TASKS, LATE_INTERACTION_TASKS = ("embed", "token_embed", "score"), ("token_embed", "score")
CLASSIFY_TASKS, TOKEN_TASKS = ("classify", "token_classify"), ("token_classify", "reward")
CROSS_ENCODER_TASKS = (*CLASSIFY_TASKS, "score")
COLBERT_DIM = 12
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def written(architecture, **options):
    return lambda folder: tiny(architecture, folder, **options)


def dual_encoder(name):
    return lambda folder: tiny_dual_encoder(name, folder)


def renamed(name, architecture, **options):
    """Write the checkpoint of an architecture with a different name in config.json."""
    return lambda folder: change_config(tiny(architecture, folder, **options), {"architectures": [name]})


def colbert(architecture, **settings):
    """Write an encoder with a projection of its tokens."""

    def write(folder):
        tiny(architecture, folder, dim=COLBERT_DIM, **settings)
        projection = random_tensors({"linear.weight": (COLBERT_DIM, 32)})
        write_weights(folder, load_file(folder / "model.safetensors") | projection)
        return folder

    return write


def named(*architectures):
    return {"hf_overrides": {"architectures": list(architectures)}}


EMBEDDING_MODELS = (
    "BertModel",
    "ErnieModel",
    "Gemma2Model",
    "Gemma3TextModel",
    "GritLM",
    "GteModel",
    "LlamaBidirectionalModel",
    "LlamaModel",
    "LlamaForCausalLM",
    "MistralModel",
    "ModernBertModel",
    "NomicBertModel",
    "Qwen2Model",
    "Qwen2ForCausalLM",
    "Qwen3Model",
    "Qwen3ForCausalLM",
    "RobertaModel",
    "RobertaForMaskedLM",
    "VoyageQwen3BidirectionalEmbedModel",
    "XLMRobertaModel",
)
CROSS_ENCODERS = (
    "BertForSequenceClassification",
    "XLMRobertaForSequenceClassification",
    "Qwen2ForSequenceClassification",
    "Qwen3ForSequenceClassification",
    "GemmaForSequenceClassification",
    "LlamaBidirectionalForSequenceClassification",
)
ROTARY = {"position_embedding_type": "rotary"}
STEP = '{"pooling_type": "STEP", "step_tag_id": 12, "returned_token_ids": [45, 78]}'
# The row, its checkpoint, the arguments that the documents pass, and the tasks that it supports.
ROWS = [
    *((name, written(name), {}, EMBED_TASKS) for name in EMBEDDING_MODELS),
    (
        "BertSpladeSparseEmbeddingModel",
        written("BertForMaskedLM"),
        named("BertSpladeSparseEmbeddingModel"),
        EMBED_TASKS,
    ),
    ("GteNewModel", written("NewModel"), named("GteNewModel"), EMBED_TASKS),
    ("jina-embeddings-v3", written("XLMRobertaModel", **ROTARY), {"trust_remote_code": True}, EMBED_TASKS),
    ("bge-m3", written("BgeM3EmbeddingModel"), {}, EMBED_TASKS),
    ("Qwen2Model with MEAN", written("Qwen2Model"), {"pooler_config": '{"pooling_type": "MEAN"}'}, EMBED_TASKS),
    ("CLIPModel", dual_encoder("CLIPModel"), {}, ("embed", "image")),
    ("SiglipModel", dual_encoder("SiglipModel"), {}, ("embed", "image")),
    ("LlamaNemotronVLModel", written("LlamaNemotronVLModel"), {}, ("embed", "image")),
    ("Phi3VForCausalLM", written("Phi3VForCausalLM"), {"runner": "pooling"}, ("embed", "image")),
    ("BertForSequenceClassification", written("BertForSequenceClassification", num_labels=3), {}, CLASSIFY_TASKS),
    ("RobertaForSequenceClassification", written("RobertaForSequenceClassification", num_labels=3), {}, CLASSIFY_TASKS),
    ("GPT2ForSequenceClassification", written("GPT2ForSequenceClassification", num_labels=3), {}, CLASSIFY_TASKS),
    *((f"{name} as a cross-encoder", written(name, num_labels=1), {}, CROSS_ENCODER_TASKS) for name in CROSS_ENCODERS),
    ("InternLM2ForRewardModel", internlm_reward, {"trust_remote_code": True}, TOKEN_TASKS),
    ("LlamaForCausalLM for steps", written("LlamaForCausalLM"), {"pooler_config": STEP}, TOKEN_TASKS),
    ("Qwen2ForRewardModel", lambda folder: qwen_reward(folder, "Qwen2ForRewardModel", 1), {}, TOKEN_TASKS),
    (
        "Qwen2ForProcessRewardModel",
        lambda folder: qwen_reward(folder, "Qwen2ForProcessRewardModel", 2),
        {"pooler_config": {"step_tag_id": 12}},
        TOKEN_TASKS,
    ),
    ("HF_ColBERT", colbert("BertModel", architectures=["HF_ColBERT"]), {}, LATE_INTERACTION_TASKS),
    ("ColBERTModernBertModel", colbert("ModernBertModel"), named("ColBERTModernBertModel"), LATE_INTERACTION_TASKS),
    (
        "ColBERTJinaRobertaModel",
        colbert("XLMRobertaModel", **ROTARY),
        named("ColBERTJinaRobertaModel"),
        LATE_INTERACTION_TASKS,
    ),
    ("BertForTokenClassification", written("BertForTokenClassification", num_labels=3), {}, TOKEN_TASKS),
    ("ModernBertForTokenClassification", written("ModernBertForTokenClassification", num_labels=3), {}, TOKEN_TASKS),
    *(
        (f"*{suffix}", renamed(f"Qwen2{suffix}", "Qwen2Model"), {}, EMBED_TASKS)
        for suffix in ("ForTextEncoding", "EmbeddingModel", "ForRewardModeling", "RewardModel", "ForCausalLM")
    ),
    *(
        (
            f"*{suffix}",
            renamed(f"Qwen2{suffix}", "Qwen2ForSequenceClassification", num_labels=1),
            {},
            CROSS_ENCODER_TASKS,
        )
        for suffix in ("ForTokenClassification", "ForAudioClassification", "ClassificationModel")
    ),
]
TEXT, OTHER_TEXT = "the old mill", "by the pond"


def run(llm, task):
    """Run a task by all methods that the documents list for it, and return the last result."""
    text = [5, 12, 7, 12] if task in TOKEN_TASKS else TEXT  # with the token that ends a step
    if task == "score":
        return llm.score(TEXT, OTHER_TEXT, use_tqdm=False)[0].outputs.score
    if task == "reward":
        return llm.reward([text], use_tqdm=False)[0].outputs.data.numpy()
    if task == "image":
        return llm.embed({"multi_modal_data": {"image": PICTURE}}, use_tqdm=False)[0].outputs.embedding
    if task == "embed":
        assert llm.embed(TEXT, use_tqdm=False)[0].outputs.hidden_size == llm.model_config.embedding_size
    if task == "classify":
        assert llm.classify(TEXT, use_tqdm=False)[0].outputs.num_classes == llm.model_config.classification.num_labels
    return llm.encode([text], pooling_task=task, use_tqdm=False)[0].outputs.data.numpy()


@pytest.mark.parametrize(("write", "arguments", "tasks"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_documented_row_serves_its_tasks(tmp_path, load, write, arguments, tasks):
    llm = load(write(tmp_path / "model"), **arguments)
    for task in tasks:
        result = np.asarray(run(llm, task))
        assert result.size > 0
        assert np.isfinite(result).all()
        assert np.ndim(result) == (0 if task == "score" else 2 if "token" in task or task == "reward" else 1)
