"""The records of decoders, for embedding and with heads that reward. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.plugin.specs import ArchitectureSpec
from millpond_models.records import LFM2, embedder, token_classifier

# Of many of them embedding models are made, and by converters classifiers.
OF_LAST_TOKEN = {
    "Llama": ("decoders.llama.model", "Llama (Touvron et al., 2023) and the many decoders of its form"),
    "Mistral": ("decoders.mistral.model", "Mistral (Jiang et al., 2023), with a sliding window"),
    "Qwen2": ("decoders.qwen.model", "Qwen2 and Qwen2.5 (Yang et al., 2024)"),
    "Qwen3": ("decoders.qwen.model", "Qwen3 (Yang et al., 2025), with norms of heads"),
    "Phi3": ("decoders.phi3.model", "Phi-3, Phi-3.5 and Phi-4-mini (Abdin et al., 2024)"),
    "Gemma": ("decoders.gemma.gemma", "Gemma, the first (Gemma Team, 2024)"),
    "Gemma2": (
        "decoders.gemma.gemma2",
        "Gemma 2 (Gemma Team, 2024), with capped scores and windows in every other layer",
    ),
    "InternLM2": ("decoders.internlm.model", "InternLM2 (Cai et al., 2024)"),
}
QWEN_STEP_TAG = 151651  # <extra_0>, which ends a step in prompts for Qwen2.5-Math-PRM


def decoders() -> Iterator[ArchitectureSpec]:
    """Decoders that were made to generate, and those that were made for embedding."""
    for family, (module, summary) in OF_LAST_TOKEN.items():
        yield embedder(f"{family}Model", f"{module}:{family}Model", summary, pooling="LAST")
    yield embedder(
        "GPT2Model",
        "decoders.gpt2.model:GPT2Model",
        "GPT-2 (Radford et al., 2019)",
        pooling="LAST",
        positions="absolute",
    )
    yield embedder(
        "Gemma3TextModel",
        "decoders.gemma.gemma3:Gemma3TextModel",
        "the text part of Gemma 3 (Gemma Team, 2025), and EmbeddingGemma",
        pooling="MEAN",
    )
    yield embedder(
        "LlamaBidirectionalModel",
        "decoders.llama.bidirectional:LlamaBidirectionalModel",
        "Llama that attends in both directions, for embeddings and, by a converter, classes",
        pooling="MEAN",
        pooling_key="pooling",
    )
    yield embedder(
        "VoyageQwen3BidirectionalEmbedModel",
        "decoders.llama.bidirectional:VoyageQwen3BidirectionalEmbedModel",
        "Qwen3 that attends in both directions, with a linear map of each token",
        pooling="MEAN",
        sized_by_labels=True,
    )
    yield embedder(
        "Lfm2Model",
        "decoders.lfm2.model:Lfm2Model",
        "LFM2 (Liquid AI, 2025): gated short convolutions, and attention in some layers",
        pooling="LAST",
        defaults=LFM2,
    )
    yield embedder(
        "Lfm2BidirectionalModel",
        "decoders.lfm2.model:Lfm2BidirectionalModel",
        "LFM2 as an encoder: attention in both directions, and centred convolutions",
        pooling="CLS",
        defaults=LFM2,
    )
    yield embedder(
        "GritLM",
        "decoders.gritlm.model:GritLM",
        "GritLM (Muennighoff et al., 2024): Mistral in both directions, pooled without the instruction",
        pooling="MEAN",
    )


def rewards() -> Iterator[ArchitectureSpec]:
    """Decoders with a head that rewards each token, or each step of a solution."""
    yield token_classifier(
        "Qwen2ForRewardModel",
        "decoders.qwen.reward:Qwen2Reward",
        summary="Qwen2 with a reward a token, by two linear maps",
        pooler_config={"use_activation": False},
        num_labels=1,
    )
    yield token_classifier(
        "Qwen2ForProcessRewardModel",
        "decoders.qwen.reward:Qwen2Reward",
        summary="Qwen2 with the probabilities of a bad and a good step",
        pooler_config={"tok_pooling_type": "STEP", "step_tag_id": QWEN_STEP_TAG},
        num_labels=2,
    )
    yield token_classifier(
        "InternLM2ForRewardModel",
        "decoders.internlm.model:InternLM2ForRewardModel",
        summary="InternLM2 with a reward a token",
        num_labels=1,
    )
