"""The records of models that classify and reward, and of converters. Without torch: ``plugin.py`` yields them."""

from collections.abc import Iterator

from millpond.specs import ArchitectureSpec, ConverterSpec

EMBEDDING_TASKS = ("embed", "token_embed")
CLASSIFYING_TASKS = ("classify", "token_classify")
REWARDING_TASKS = ("token_classify",)
SPLADE_POOLING = ("SPLADE_MAX", "SPLADE_SUM", "SPLADE_MAX_LOG", "SPLADE_SUM_LOG")
QWEN_STEP_TAG = 151651  # <extra_0>, which ends a step in prompts for Qwen2.5-Math-PRM
GENERATING = ("*ForCausalLM", "*ForConditionalGeneration", "*ChatModel", "*LMHeadModel")
ENCODERS = {
    # family: what the names of the classes that serve it begin with, and how its positions are counted
    "Bert": ("bert_heads:Bert", "absolute"),
    "Roberta": ("bert_heads:Roberta", "absolute_after_pad"),
    "XLMRoberta": ("bert_heads:Roberta", "absolute_after_pad"),
    "Ernie": ("ernie:Ernie", "absolute"),
}


def classifiers() -> Iterator[ArchitectureSpec]:
    """Encoders with classifiers of their own; and Ernie's without one."""
    yield ernie()
    for family, (served_by, positions) in ENCODERS.items():
        yield ArchitectureSpec(
            name=f"{family}ForSequenceClassification",
            target=f"millpond_models.{served_by}ForSequenceClassification",
            summary="classes or a score of a text, or of a pair of texts",
            tasks=CLASSIFYING_TASKS,
            pooling="CLS",
            positions=positions,
        )
        yield ArchitectureSpec(
            name=f"{family}ForTokenClassification",
            target=f"millpond_models.{served_by}ForTokenClassification",
            summary="classes of each token",
            tasks=REWARDING_TASKS,
            positions=positions,
        )


def ernie() -> ArchitectureSpec:
    """The backbone of Ernie's classifiers."""
    return ArchitectureSpec(
        name="ErnieModel",
        target="millpond_models.ernie:ErnieModel",
        summary="BERT with a vector of its task (Sun et al., 2020)",
        tasks=EMBEDDING_TASKS,
        pooling="CLS",
        positions="absolute",
    )


def sparse_encoders() -> Iterator[ArchitectureSpec]:
    """SPLADE by the name that other servers know it by; the same of masked language models is a converter's."""
    yield ArchitectureSpec(
        name="BertSpladeSparseEmbeddingModel",
        target="millpond_models.splade:BertSplade",
        summary="SPLADE: a weight for each token of the vocabulary (Formal et al., 2021)",
        tasks=EMBEDDING_TASKS,
        pooling="SPLADE_MAX",
        positions="absolute",
    )


def token_encoders() -> Iterator[ArchitectureSpec]:
    """Late interaction: vectors of tokens."""
    yield ArchitectureSpec(
        name="HF_ColBERT",
        target="millpond_models.colbert:ColBert",
        summary="ColBERT: a vector of few dimensions for each token (Khattab and Zaharia, 2020)",
        tasks=("token_embed",),
        positions="absolute",
    )


def rewards() -> Iterator[ArchitectureSpec]:
    """Decoders with a head that rewards each token, or each step of a solution."""
    yield ArchitectureSpec(
        name="Qwen2ForRewardModel",
        target="millpond_models.reward:Qwen2Reward",
        summary="Qwen2 with a reward a token, by two linear maps",
        tasks=REWARDING_TASKS,
        pooler_config={"use_activation": False},
        num_labels=1,
    )
    yield ArchitectureSpec(
        name="Qwen2ForProcessRewardModel",
        target="millpond_models.reward:Qwen2Reward",
        summary="Qwen2 with the probabilities of a bad and a good step",
        tasks=REWARDING_TASKS,
        pooler_config={"tok_pooling_type": "STEP", "step_tag_id": QWEN_STEP_TAG},
        num_labels=2,
    )
    yield ArchitectureSpec(
        name="InternLM2ForRewardModel",
        target="millpond_models.internlm:InternLM2ForRewardModel",
        summary="InternLM2 with a reward a token",
        tasks=REWARDING_TASKS,
        num_labels=1,
    )
    yield ArchitectureSpec(
        name="InternLM2Model",
        target="millpond_models.internlm:InternLM2Model",
        summary="InternLM2 (Cai et al., 2024)",
        tasks=EMBEDDING_TASKS,
        pooling="LAST",
    )


def converters() -> Iterator[ConverterSpec]:
    """Ways to a pooling model, by what an architecture's name says of its head."""
    yield ConverterSpec(
        name="embed",
        target="millpond_models.convert:as_embedding",
        summary="vectors: leaves out the head",
        architectures=(
            "*ForTextEncoding",
            "*EmbeddingModel",
            "*ForRewardModeling",
            "*RewardModel",
            "*Model",
            "*ForMaskedLM",
            *GENERATING,
        ),
        tasks=EMBEDDING_TASKS,
    )
    yield ConverterSpec(
        name="classify",
        target="millpond_models.convert:as_classifier",
        summary="classes or a score: a linear map named score, or made of rows of the vocabulary's",
        architectures=(
            "*ForSequenceClassification",
            "*ForTokenClassification",
            "*ForAudioClassification",
            "*ForImageClassification",
            "*ForVideoClassification",
            "*ClassificationModel",
        ),
        tasks=CLASSIFYING_TASKS,
    )
    yield ConverterSpec(
        name="process_reward",
        target="millpond_models.convert:as_process_reward",
        summary="the probabilities of some tokens at the end of each step",
        architectures=("*ForCausalLM",),
        tasks=REWARDING_TASKS,
        pooling=("STEP",),
    )
    yield ConverterSpec(
        name="splade",
        target="millpond_models.splade:as_splade",
        summary="a weight for each token of the vocabulary, by the head that fills in masked tokens",
        architectures=("*ForMaskedLM",),
        tasks=EMBEDDING_TASKS,
        pooling=SPLADE_POOLING,
    )
