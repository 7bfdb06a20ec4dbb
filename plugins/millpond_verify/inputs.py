"""The built-in inputs: 200 texts in 20 scripts with 1 token up to the maximum, pairs of them, and generated images."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

    from millpond.model.tokenizer import Tokenizer

NUM_TEXTS = 200
NUM_OVERLONG = 2  # texts over the maximum length, which both sides truncate
MAX_CHARS_PER_TOKEN = 64  # tokenizers drop characters that they do not know, so a text may never reach its length
IMAGE_SIZES = ((32, 32), (224, 224), (64, 300), (240, 320), (333, 217), (17, 41), (256, 256), (90, 20))  # height, width
NUM_IMAGES = 24


@dataclass(frozen=True)
class Input:
    """An input that both sides compute.

    Attributes:
        label: Its name in reports, such as ``text 17 (Thai)``.
        data: A text, a pair of texts, or an image.
    """

    label: str
    data: Any


def read_sentences() -> dict[str, list[str]]:
    """Return the built-in sentences of each script."""
    content = files("millpond_verify").joinpath("sentences.json").read_text(encoding="utf-8")
    sentences: dict[str, list[str]] = json.loads(content)
    return sentences


def build_texts(tokenizer: "Tokenizer", longest: int) -> list[Input]:
    """Return the texts; those of a script have lengths over the whole range.

    Args:
        tokenizer: The tokenizer of the model.
        longest: The maximum number of tokens of a text, including special tokens.
    """
    scripts = read_sentences()
    names = list(scripts)
    texts: list[Input] = []
    for number, length in enumerate(lengths(NUM_TEXTS, longest)):
        name = names[number % len(names)]
        first = number // len(names) % len(scripts[name])
        sentences = [*scripts[name][first:], *scripts[name][:first]]
        text = _cut(tokenizer, sentences, max(1, length - tokenizer.num_special_tokens))
        texts.append(Input(f"text {number} ({name})", text))
    return texts


def lengths(count: int, longest: int) -> list[int]:
    """Return lengths in geometric steps from 1 to the longest, followed by ``NUM_OVERLONG`` that exceed it."""
    steps = count - NUM_OVERLONG - 1
    return [round(longest ** (step / steps)) for step in range(steps + 1)] + [longest * 5 // 4 + 1] * NUM_OVERLONG


def build_pairs(texts: Sequence[Input]) -> list[Input]:
    """Return pairs of a sentence as query and each text as document, both in the same script."""
    queries = [sentences[0] for sentences in read_sentences().values()]
    return [
        Input(it.label.replace("text", "pair"), (queries[number % len(queries)], it.data))
        for number, it in enumerate(texts)
    ]


def build_images() -> list[Input]:
    """Return RGB images of several sizes: noise, gradients and coloured blocks."""
    return [
        Input(f"image {number}", _image(number, *IMAGE_SIZES[number % len(IMAGE_SIZES)]))
        for number in range(NUM_IMAGES)
    ]


def hash_inputs(inputs: Sequence[Input]) -> str:
    """Return the SHA-256 of inputs in hexadecimal."""
    digest = hashlib.sha256()
    for it in inputs:
        if isinstance(it.data, str | tuple):
            digest.update(json.dumps(it.data, ensure_ascii=True).encode())
        else:
            digest.update(f"{it.data.size}".encode() + it.data.tobytes())
    return digest.hexdigest()


def _cut(tokenizer: "Tokenizer", sentences: Sequence[str], num_tokens: int) -> str:
    """Return the sentences, repeated and cut to a number of tokens."""
    text = " ".join(sentences)
    while True:
        offsets = tokenizer.backend.encode(text, add_special_tokens=False).offsets
        if len(offsets) >= num_tokens:
            return text[: max(1, offsets[num_tokens - 1][1])]
        if len(text) > MAX_CHARS_PER_TOKEN * num_tokens:
            return text
        text = f"{text} {text}"


def _image(number: int, height: int, width: int) -> "Image":
    from PIL import Image  # noqa: PLC0415  not needed for texts

    random = np.random.default_rng(number)
    rows, columns = np.mgrid[0:height, 0:width]
    if number % 3 == 0:
        pixels = random.integers(0, 256, (height, width, 3))
    elif number % 3 == 1:
        pixels = np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 256], axis=-1)
    else:
        colours = random.integers(0, 256, (8, 3))
        pixels = colours[(rows * 4 // height + columns * 4 // width) % len(colours)]
    return Image.fromarray(pixels.astype(np.uint8))


def flatten(groups: Sequence[Sequence[Input]]) -> list[Input]:
    """Return the inputs of several groups."""
    return list(chain.from_iterable(groups))
