"""Kinds of comparisons: for each kind of model, the class of the reference and the results that are compared."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond_command.cli import USAGE, CommandError

if TYPE_CHECKING:
    from millpond.model.spec import ResolvedModel


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of comparison.

    Attributes:
        name: Its name in certificates.
        task: The pooling task of Millpond whose results are compared.
        reference: The import string of the reference.
        results: "vectors", "rows" (a vector per token), "logits", "token logits" or "scores".
        has_activation: True if the reference normalizes vectors, or computes probabilities, like Millpond.
        takes_pairs: True if inputs are pairs of texts.
        takes_prompts: True if the prompts of the model are compared, too.
    """

    name: str
    task: str
    reference: str
    results: str
    has_activation: bool = False
    takes_pairs: bool = False
    takes_prompts: bool = False


SENTENCE = "millpond_verify.sentence_reference"
TRANSFORMERS = "millpond_verify.transformers_reference"
EMBEDDINGS = Kind(
    name="embeddings",
    task="embed",
    reference=f"{SENTENCE}:EmbeddingReference",
    results="vectors",
    has_activation=True,
    takes_prompts=True,
)
SPARSE = Kind(
    name="sparse embeddings",
    task="embed",
    reference=f"{SENTENCE}:SparseReference",
    results="vectors",
    has_activation=True,
    takes_prompts=True,
)
LATE_INTERACTION = Kind(
    name="token embeddings",
    task="token_embed",
    reference=f"{SENTENCE}:MultiVectorReference",
    results="rows",
    has_activation=True,
)
SCORES = Kind(
    name="scores",
    task="score",
    reference=f"{SENTENCE}:ScoreReference",
    results="scores",
    has_activation=True,
    takes_pairs=True,
)
DUAL_ENCODER = Kind(
    name="embeddings of texts and images",
    task="embed",
    reference=f"{TRANSFORMERS}:DualEncoderReference",
    results="vectors",
)
HIDDEN_STATES = Kind(
    name="hidden states", task="token_embed", reference=f"{TRANSFORMERS}:HiddenStatesReference", results="rows"
)
CLASSES = Kind(name="classes", task="classify", reference=f"{TRANSFORMERS}:ClassReference", results="logits")
TOKEN_CLASSES = Kind(
    name="classes of tokens",
    task="token_classify",
    reference=f"{TRANSFORMERS}:TokenClassReference",
    results="token logits",
)


def choose_kind(model: "ResolvedModel") -> Kind:
    """Return the kind of comparison for a model.

    Raises:
        CommandError: If there is no reference for the model.
    """
    if "embed" in model.tasks:
        return _embedding_kind(model)
    if model.retrieval.late_interaction is not None:
        return LATE_INTERACTION
    if "classify" in model.tasks:
        return SCORES if model.classification.num_labels == 1 else CLASSES
    if "token_classify" in model.tasks:
        return TOKEN_CLASSES
    message = f"no reference for a model with the tasks {', '.join(model.tasks) or 'none'}"
    raise CommandError(message, hint="`millpond inspect MODEL` shows its tasks", exit_code=USAGE)


def _embedding_kind(model: "ResolvedModel") -> Kind:
    if model.modules.listed:
        return SPARSE if model.embedding.sparse is not None else EMBEDDINGS
    if model.embedding.sparse is not None or model.multimodal.image_reader is not None:
        message = f"no reference for {model.identity.architecture} without the files of sentence-transformers"
        raise CommandError(message, exit_code=USAGE)
    return DUAL_ENCODER if "image" in model.multimodal.modalities else HIDDEN_STATES
