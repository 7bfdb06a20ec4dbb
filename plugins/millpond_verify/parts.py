"""The parts of a comparison: inputs that are computed in the same way by Millpond and by the reference."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from millpond_verify.inputs import Input, build_images, build_pairs
from millpond_verify.kinds import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The input types, and the prompts that `encode_query` and `encode_document` of sentence-transformers apply: the first
# that the model has.
INPUT_TYPE_PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}
INPUTS_PER_CHUNK = 10
PROMPTED_TEXTS = slice(80, 100)  # one text of medium length per script


@dataclass(frozen=True, kw_only=True)
class Part:
    """Inputs of one kind with the options of the call.

    Attributes:
        name: Its name in reports.
        inputs: The inputs.
        prompt_name: The name of the prompt that precedes each text; None for no prompt.
        input_type: "query" or "document", for models that read the two in different ways; None for others.
        has_images: True if the inputs are images.
    """

    name: str
    inputs: tuple[Input, ...]
    prompt_name: str | None = None
    input_type: str | None = None
    has_images: bool = False

    def chunks(self) -> "Iterator[Part]":
        """Yield parts with a few of the inputs each."""
        for start in range(0, len(self.inputs), INPUTS_PER_CHUNK):
            yield replace(self, inputs=self.inputs[start : start + INPUTS_PER_CHUNK])

    @property
    def data(self) -> list[Any]:
        """The texts, pairs or images."""
        return [it.data for it in self.inputs]


@dataclass(frozen=True, kw_only=True)
class Results:
    """The results of one side for a part.

    Attributes:
        arrays: An array for each input: a vector, rows of token vectors or logits, logits, or a score.
        token_ids: The token ids of each input; empty if they are not compared.
    """

    arrays: "Sequence[NDArray[Any]]"
    token_ids: Sequence[Sequence[int]] = ()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a model as the reference reads them; None for a setting that it does not have.

    Attributes:
        max_length: The maximum number of tokens.
        pooling: The pooling type, in Millpond's spelling.
        normalize: True if vectors are normalized.
        dense: The Dense modules after pooling, such as ``384 to 128, tanh``.
        prompts: The prompts by name.
        include_prompt: False if the tokens of a prompt are not pooled.
        similarity: The similarity function.
        truncate_dim: The number of dimensions that vectors are truncated to; 0 for all.
        activation: The activation of scores or classes.
        labels: The names of the classes.
    """

    max_length: int | None = None
    pooling: str | None = None
    normalize: bool | None = None
    dense: tuple[str, ...] | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    include_prompt: bool | None = None
    similarity: str | None = None
    truncate_dim: int | None = None
    activation: str | None = None
    labels: tuple[str, ...] | None = None


class Reference(Protocol):
    """A model of another library."""

    @property
    def label(self) -> str:
        """The library and the class."""
        ...

    def settings(self) -> Settings:
        """Return the settings of the model."""
        ...

    def run(self, part: Part) -> Results:
        """Return the results for a part."""
        ...


def build_parts(
    kind: Kind,
    texts: Sequence[Input],
    *,
    prompt_names: Collection[str] = (),
    has_input_types: bool = False,
    has_images: bool = False,
) -> list[Part]:
    """Return the parts of a comparison.

    Args:
        kind: The kind of the comparison.
        texts: The built-in texts.
        prompt_names: The names of the prompts of both sides.
        has_input_types: True if the model reads queries and documents in different ways.
        has_images: True if the model embeds images.
    """
    if kind.takes_pairs:
        return [Part(name="pairs", inputs=tuple(build_pairs(texts)))]
    if has_input_types:
        return [
            Part(
                name=f"texts as {it}",
                inputs=tuple(texts),
                input_type=it,
                prompt_name=next((name for name in names if name in prompt_names), None),
            )
            for it, names in INPUT_TYPE_PROMPTS.items()
        ]
    parts = [Part(name="texts", inputs=tuple(texts))]
    if kind.takes_prompts:
        some = tuple(texts[PROMPTED_TEXTS])
        parts += [Part(name=f"prompt {name}", inputs=some, prompt_name=name) for name in prompt_names]
    if has_images:
        parts.append(Part(name="images", inputs=tuple(build_images()), has_images=True))
    return parts
