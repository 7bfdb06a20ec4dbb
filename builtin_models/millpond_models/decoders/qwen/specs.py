"""Specs of Qwen2, Qwen3, their reward models and their published models."""

from typing import Final

from millpond.plugin.specs import ModelExtras, OutputShape, PoolingDefaults, PublishedModelSpec, RerankTemplate
from millpond_models.spec_helpers.architectures import embedder, token_classifier
from millpond_models.spec_helpers.published import matryoshka, models

CHATML: Final = "<|im_start|>"
STEP_TAG_ID: Final = 151651  # <extra_0>, which ends a step in prompts of Qwen2.5-Math-PRM
# https://huggingface.co/Qwen/Qwen3-Reranker-0.6B
QWEN3_RERANKER: Final = RerankTemplate(
    pieces=(
        (
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
            'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
        ),
        "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ),
    instruction="Given a web search query, retrieve relevant passages that answer the query",
    written_marker=CHATML,
    recognized_by={"is_original_qwen3_reranker": True},
)
# https://github.com/mixedbread-ai/mxbai-rerank
MXBAI_RERANK_V2: Final = RerankTemplate(
    pieces=(
        (
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\n"
        ),
        "{instruction}query: {query}",
        "\n",
        "document: {document}",
        "\n",
        (
            "You are a search relevance expert who evaluates how well documents match search queries. For each "
            "query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
            "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
        ),
        "<|im_end|>\n<|im_start|>assistant\n",
    ),
    instruction_form="instruction: {}\n",
    written_marker=CHATML,
    recognized_by={"model_type": "qwen2", "classifier_from_token": ["0", "1"]},
)
REWARD: Final = "millpond_models.decoders.qwen.reward:Qwen2Reward"
ARCHITECTURES = (
    embedder(
        "Qwen2Model",
        "millpond_models.decoders.qwen.model:Qwen2Model",
        "Qwen2 and Qwen2.5 (Yang et al., 2024)",
        pooling="LAST",
    ),
    embedder(
        "Qwen3Model",
        "millpond_models.decoders.qwen.model:Qwen3Model",
        "Qwen3 (Yang et al., 2025), with query and key norms",
        pooling="LAST",
    ),
    embedder(
        "VoyageQwen3BidirectionalEmbedModel",
        "millpond_models.decoders.qwen.bidirectional:VoyageQwen3BidirectionalEmbedModel",
        "bidirectional Qwen3 with a linear projection of each token",
        pooling="MEAN",
        output=OutputShape(size_from_num_labels=True),
    ),
    token_classifier(
        "Qwen2ForRewardModel",
        REWARD,
        "Qwen2 with one reward per token, from two linear layers",
        pooling=PoolingDefaults(settings={"use_activation": False}),
        output=OutputShape(num_labels=1),
        extras=ModelExtras(),
    ),
    token_classifier(
        "Qwen2ForProcessRewardModel",
        REWARD,
        "Qwen2 with the probabilities of a bad and a good step",
        pooling=PoolingDefaults(tok_type="STEP", step_tag_id=STEP_TAG_ID),
        output=OutputShape(num_labels=2),
        extras=ModelExtras(),
    ),
)
PUBLISHED = (
    *models(
        "Qwen2Model",
        "Alibaba-NLP/gte-Qwen2-1.5B-instruct",
        "Alibaba-NLP/gte-Qwen2-7B-instruct",
        "ssmits/Qwen2-7B-Instruct-embed-base",
    ),
    *models("Qwen2Model", "jason9693/Qwen2.5-1.5B-apeach", checkpoint_architecture="Qwen2ForSequenceClassification"),
    PublishedModelSpec(
        name="mixedbread-ai/mxbai-rerank-*-v2*",
        architecture="Qwen2Model",
        checkpoint_architecture="Qwen2ForCausalLM",
        config={
            "architectures": ["Qwen2ForSequenceClassification"],
            "classifier_from_token": ["0", "1"],
            "method": "from_2_way_softmax",
        },
        rerank_template=MXBAI_RERANK_V2,
        markers=("You are a search relevance expert who evaluates",),
    ),
    *models("Qwen2ForRewardModel", "Qwen/Qwen2.5-Math-RM-72B"),
    *models("Qwen2ForProcessRewardModel", "Qwen/Qwen2.5-Math-PRM-7B"),
    matryoshka("Qwen3Model", "Qwen/Qwen3-Embedding*"),
    matryoshka("Qwen3Model", "Qwen/Qwen3-VL-Embedding*"),
    matryoshka("Qwen3Model", "jinaai/jina-embeddings-v5-text*"),
    PublishedModelSpec(
        name="Qwen/Qwen3-Reranker*",
        architecture="Qwen3Model",
        checkpoint_architecture="Qwen3ForCausalLM",
        config={
            "architectures": ["Qwen3ForSequenceClassification"],
            "classifier_from_token": ["no", "yes"],
            "is_original_qwen3_reranker": True,
        },
        rerank_template=QWEN3_RERANKER,
        markers=("Judge whether the Document meets the requirements",),
    ),
    PublishedModelSpec(
        name="tomaarsen/*Qwen3-Reranker*",
        architecture="Qwen3Model",
        checkpoint_architecture="Qwen3ForSequenceClassification",
        rerank_template=QWEN3_RERANKER,
    ),
    *models(
        "Qwen3Model", "Skywork/Skywork-Reward-V2-Qwen3-0.6B", checkpoint_architecture="Qwen3ForSequenceClassification"
    ),
    *models("Qwen3Model", "bd2lcco/Qwen3-0.6B-finetuned", checkpoint_architecture="Qwen3ForTokenClassification"),
    *models("VoyageQwen3BidirectionalEmbedModel", "voyageai/voyage-4-nano"),
)
