"""Published models by the architecture that serves them, and what is known of them that their files do not say. Data.

Sources are the models' own pages: the prompts and tokens of rerankers that are language models, and the sizes to which
embeddings may be cut ("Matryoshka"), of any size or of those that their authors list.
"""

from collections.abc import Mapping

from millpond.plugin.specs import PublishedModel

ANY_SIZE: Mapping[str, object] = {"is_matryoshka": True}
QWEN3_RERANKER: Mapping[str, object] = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}
MXBAI_RERANK_V2: Mapping[str, object] = {
    "architectures": ["Qwen2ForSequenceClassification"],
    "classifier_from_token": ["0", "1"],
    "method": "from_2_way_softmax",
}

SPLADE: Mapping[str, object] = {"architectures": ["BertSpladeSparseEmbeddingModel"]}
BGE_RERANKER_GEMMA: Mapping[str, object] = {
    "architectures": ["GemmaForSequenceClassification"],
    "classifier_from_token": ["Yes"],
    "method": "no_post_processing",
}


def published(architecture: str) -> tuple[PublishedModel, ...]:
    """The published models that the architecture of that name serves."""
    return PUBLISHED.get(architecture, ())


def _named(*names: str, architecture: str | None = None) -> tuple[PublishedModel, ...]:
    """Models of which nothing else need be known."""
    return tuple(PublishedModel(name=name, named=architecture) for name in names)


def _cut(name: str, *sizes: int) -> PublishedModel:
    """A model whose embeddings may be cut: to these sizes, or to any."""
    return PublishedModel(name=name, config={"matryoshka_dimensions": list(sizes)} if sizes else ANY_SIZE)


PUBLISHED: Mapping[str, tuple[PublishedModel, ...]] = {
    "BertModel": (
        *_named("BAAI/bge-base-en-v1.5", "sentence-transformers/all-MiniLM-L6-v2", "intfloat/e5-small"),
        *_named("Snowflake/snowflake-arctic-embed-xs"),
        _cut("Snowflake/snowflake-arctic-embed-m-v1.5*", 768, 256),
        _cut("mixedbread-ai/mxbai-embed-large*"),
    ),
    "BertForSequenceClassification": _named("cross-encoder/ms-marco-MiniLM-L-6-v2"),
    "BertForTokenClassification": _named("boltuix/NeuroBERT-NER"),
    "BertSpladeSparseEmbeddingModel": (PublishedModel(name="naver/splade-v3", config=SPLADE, named="BertForMaskedLM"),),
    "HF_ColBERT": _named("answerdotai/answerai-colbert-small-v1", "colbert-ir/colbertv2.0"),
    "ErnieModel": _named("shibing624/text2vec-base-chinese-sentence"),
    "ErnieForSequenceClassification": _named("Forrest20231206/ernie-3.0-base-zh-cls"),
    "ErnieForTokenClassification": _named("gyr66/Ernie-3.0-base-chinese-finetuned-ner"),
    "RobertaModel": _named("sentence-transformers/all-roberta-large-v1"),
    "RobertaForSequenceClassification": _named("cross-encoder/quora-roberta-base"),
    "XLMRobertaModel": (
        *_named("intfloat/multilingual-e5-base", "intfloat/multilingual-e5-large"),
        _cut("Snowflake/snowflake-arctic-embed-l-v2*", 1024, 256),
        _cut("jinaai/jina-embeddings-v3*", 32, 64, 128, 256, 512, 768, 1024),
    ),
    "CamembertModel": _named("dangvantuan/sentence-camembert-base"),
    "XLMRobertaForSequenceClassification": _named(
        "BAAI/bge-reranker-v2-m3", "jinaai/jina-reranker-v2-base-multilingual"
    ),
    "JinaEmbeddingsV3Model": (_cut("jinaai/jina-embeddings-v3-hf*", 32, 64, 128, 256, 512, 768, 1024),),
    "ModernBertModel": _named("Alibaba-NLP/gte-modernbert-base", "nomic-ai/modernbert-embed-base"),
    "ModernBertForTokenClassification": _named("disham993/electrical-ner-ModernBERT-base"),
    "NomicBertModel": (
        *_named("nomic-ai/nomic-embed-text-v1"),
        _cut("nomic-ai/nomic-embed-text-v1.5*"),
        _cut("nomic-ai/nomic-embed-text-v2-moe*", 768, 256),
    ),
    "GteModel": (_cut("Snowflake/snowflake-arctic-embed-m-v2*", 768, 256),),
    "GteNewModel": (_cut("Alibaba-NLP/gte-multilingual-base*"),),
    "GteNewForSequenceClassification": _named("Alibaba-NLP/gte-multilingual-reranker-base"),
    "LlamaModel": _named("Skywork/Skywork-Reward-V2-Llama-3.2-1B", architecture="LlamaForSequenceClassification"),
    "LlamaBidirectionalModel": (
        *_named("nvidia/llama-nemotron-embed-1b-v2"),
        *_named("nvidia/llama-nemotron-rerank-1b-v2", architecture="LlamaBidirectionalForSequenceClassification"),
    ),
    "MistralModel": (
        *_named("intfloat/e5-mistral-7b-instruct"),
        *_named("peiyi9979/math-shepherd-mistral-7b-prm", architecture="MistralForCausalLM"),
    ),
    "GritLM": _named("parasail-ai/GritLM-7B-vllm"),
    "Qwen2Model": (
        *_named("Alibaba-NLP/gte-Qwen2-1.5B-instruct", "Alibaba-NLP/gte-Qwen2-7B-instruct"),
        *_named("ssmits/Qwen2-7B-Instruct-embed-base"),
        *_named("jason9693/Qwen2.5-1.5B-apeach", architecture="Qwen2ForSequenceClassification"),
        PublishedModel(
            name="mixedbread-ai/mxbai-rerank-*-v2*",
            config=MXBAI_RERANK_V2,
            named="Qwen2ForCausalLM",
            marks=("You are a search relevance expert who evaluates",),
        ),
    ),
    "Qwen2ForRewardModel": _named("Qwen/Qwen2.5-Math-RM-72B"),
    "Qwen2ForProcessRewardModel": _named("Qwen/Qwen2.5-Math-PRM-7B"),
    "Qwen3Model": (
        _cut("Qwen/Qwen3-Embedding*"),
        _cut("Qwen/Qwen3-VL-Embedding*"),
        _cut("jinaai/jina-embeddings-v5-text*"),
        PublishedModel(
            name="Qwen/Qwen3-Reranker*",
            config=QWEN3_RERANKER,
            named="Qwen3ForCausalLM",
            marks=("Judge whether the Document meets the requirements",),
        ),
        *_named("tomaarsen/Qwen3-Reranker-0.6B-seq-cls", architecture="Qwen3ForSequenceClassification"),
        *_named("Skywork/Skywork-Reward-V2-Qwen3-0.6B", architecture="Qwen3ForSequenceClassification"),
        *_named("bd2lcco/Qwen3-0.6B-finetuned", architecture="Qwen3ForTokenClassification"),
    ),
    "VoyageQwen3BidirectionalEmbedModel": _named("voyageai/voyage-4-nano"),
    "GemmaModel": (
        PublishedModel(
            name="BAAI/bge-reranker-v2-gemma",
            config=BGE_RERANKER_GEMMA,
            named="GemmaForCausalLM",
            marks=("determine whether the passage contains an answer to the query",),
        ),
    ),
    "Gemma2Model": _named("BAAI/bge-multilingual-gemma2"),
    "Gemma3TextModel": (_cut("google/embeddinggemma*", 768, 512, 256, 128),),
    "GPT2Model": _named("nie3e/sentiment-polish-gpt2-small", architecture="GPT2ForSequenceClassification"),
    "DistilBertModel": (
        *_named(
            "sentence-transformers/msmarco-distilbert-base-v4", "sentence-transformers/distiluse-base-multilingual*"
        ),
    ),
    "DistilBertForSequenceClassification": _named("distilbert/distilbert-base-uncased-finetuned-sst-2-english"),
    "DistilBertForTokenClassification": _named("elastic/distilbert-base-uncased-finetuned-conll03-english"),
    "StaticEmbedding": (
        _cut("sentence-transformers/static-retrieval-mrl-en-v1", 1024, 512, 256, 128, 64, 32),
        _cut("sentence-transformers/static-similarity-mrl-multilingual-v1", 1024, 512, 256, 128, 64, 32),
        *_named("minishlab/potion-base-8M", architecture="StaticModel"),
    ),
    "MPNetModel": _named("sentence-transformers/all-mpnet-base-v2", "sentence-transformers/multi-qa-mpnet-base-dot-v1"),
    "JinaBertModel": _named(
        "jinaai/jina-embeddings-v2-base-en",
        "jinaai/jina-embeddings-v2-small-en",
        "jinaai/jina-embeddings-v2-base-code",
        architecture="JinaBertForMaskedLM",
    ),
    "JinaBertForSequenceClassification": _named("jinaai/jina-reranker-v1-tiny-en", "jinaai/jina-reranker-v1-turbo-en"),
    "EuroBertModel": _named("EuroBERT/EuroBERT-210m", architecture="EuroBertForMaskedLM"),
    "DebertaV2Model": _named("microsoft/deberta-v3-base"),
    "DebertaV2ForSequenceClassification": _named(
        "mixedbread-ai/mxbai-rerank-xsmall-v1",
        "mixedbread-ai/mxbai-rerank-base-v1",
        "mixedbread-ai/mxbai-rerank-large-v1",
    ),
    "InternLM2ForRewardModel": _named("internlm/internlm2-1_8b-reward", "internlm/internlm2-7b-reward"),
}
