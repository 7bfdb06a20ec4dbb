"""How published rerankers made of language models want a query and a document written, word by word. Data."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from millpond.loading.known import bare_names
from millpond.types.config import ModelConfig

CHATML = "<|im_start|>"


@dataclass(frozen=True, kw_only=True)
class KnownPrompt:
    """The text that a family of rerankers reads.

    Attributes:
        patterns: Shell patterns of the models' names in lower case, without the organisation.
        pieces: The text, in pieces that are tokenised one by one as their authors do. ``{query}``, ``{document}`` and
            ``{instruction}`` are filled in.
        instruction: The instruction where the caller gives none.
        instruction_form: How an instruction is written where there is one.
        mark: A query that begins so was written in this form by the caller already, and is left as it is.
    """

    patterns: tuple[str, ...]
    pieces: tuple[str, ...]
    instruction: str = ""
    instruction_form: str = "{}"
    mark: str | None = None

    def filled(self, query: str, document: str, instruction: str | None) -> tuple[str, ...]:
        """The pieces for a pair."""
        said = instruction or self.instruction
        written = self.instruction_form.format(said) if said else ""
        return tuple(piece.format(query=query, document=document, instruction=written) for piece in self.pieces)


QWEN3_RERANKER = KnownPrompt(  # https://huggingface.co/Qwen/Qwen3-Reranker-0.6B
    patterns=("*qwen3-reranker*",),
    pieces=(
        (
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
            'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
        ),
        "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
        "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ),
    instruction="Given a web search query, retrieve relevant passages that answer the query",
    mark=CHATML,
)
MXBAI_RERANK_V2 = KnownPrompt(  # https://github.com/mixedbread-ai/mxbai-rerank
    patterns=("mxbai-rerank-*-v2*",),
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
    mark=CHATML,
)
BGE_RERANKER_GEMMA = KnownPrompt(  # https://huggingface.co/BAAI/bge-reranker-v2-gemma
    patterns=("bge-reranker-v2-gemma*",),
    pieces=("<bos>", "A: {query}", "\n", "B: {document}", "\n", "{instruction}"),
    instruction="Given a query A and a passage B, determine whether the passage contains an answer to the query by "
    "providing a prediction of either 'Yes' or 'No'.",
)
NEMOTRON_RERANK = KnownPrompt(  # https://huggingface.co/nvidia/llama-nemotron-rerank-vl-1b-v2, and that of texts alone
    patterns=("llama-nemotron-rerank-*",),
    pieces=("<|begin_of_text|>", "question:{query} \n \n passage:{document}"),
)
FAMILIES = (QWEN3_RERANKER, MXBAI_RERANK_V2, BGE_RERANKER_GEMMA, NEMOTRON_RERANK)


def known_prompt(model: ModelConfig) -> KnownPrompt | None:
    """The prompt of a model, by what its config says of its score, else by its name; None if it is not known."""
    config = model.hf_config
    if config.get("is_original_qwen3_reranker"):
        return QWEN3_RERANKER
    if config.get("model_type") == "gemma" and list(config.get("classifier_from_token") or ()) == ["Yes"]:
        return BGE_RERANKER_GEMMA
    if config.get("model_type") == "qwen2" and list(config.get("classifier_from_token") or ()) == ["0", "1"]:
        return MXBAI_RERANK_V2
    names = bare_names(model.model, Path(model.path), config)
    for family in FAMILIES:
        if any(fnmatchcase(name, pattern) for name in names for pattern in family.patterns):
            return family
    return None
