"""The built-in inputs: scripts, lengths, images; they are the same in each run."""

import unicodedata
from collections import Counter

import pytest

from millpond.model.tokenizer import Tokenizer
from millpond.testing.tokenizers import byte_tokenizer
from millpond_verify.inputs import (
    NUM_IMAGES,
    build_images,
    build_pairs,
    build_texts,
    hash_inputs,
    lengths,
    read_sentences,
)

LONGEST = 40


@pytest.fixture(scope="module")
def texts():
    return build_texts(Tokenizer(byte_tokenizer()), LONGEST)


def test_there_are_20_scripts_with_their_letters():
    sentences = read_sentences()
    assert len(sentences) == 20
    for script, lines in sentences.items():
        names = {"Han": "CJK", "Japanese": "HIRAGANA"}.get(script, script.upper())
        for line in lines:
            assert any(unicodedata.name(letter, "").startswith(names) for letter in line), (script, line)


def test_each_script_has_10_texts_of_1_token_to_the_maximum(texts):
    scripts = Counter(it.label.partition("(")[2] for it in texts)
    assert set(scripts.values()) == {10}
    counts = [len(Tokenizer(byte_tokenizer()).backend.encode(it.data).ids) for it in texts]
    assert counts[0] == 1
    assert all(0 < count <= LONGEST + 3 for count in counts[:-2])  # a character of up to 4 bytes is not divided
    assert max(counts[:-2]) >= LONGEST
    assert min(counts[-2:]) > LONGEST


def test_lengths_start_at_1_and_end_above_the_maximum():
    assert lengths(200, 512)[0] == 1
    assert lengths(200, 512)[-3:] == [512, 641, 641]
    assert lengths(200, 1)[:198] == [1] * 198


def test_inputs_are_the_same_each_time(texts):
    assert hash_inputs(build_texts(Tokenizer(byte_tokenizer()), LONGEST)) == hash_inputs(texts)
    assert hash_inputs(build_images()) == hash_inputs(build_images())
    assert hash_inputs(texts) != hash_inputs(texts[1:])


def test_pairs_and_images_are_built(texts):
    pairs = build_pairs(texts)
    assert pairs[3].data == (read_sentences()["Armenian"][0], texts[3].data)
    assert pairs[3].label == "pair 3 (Armenian)"
    images = build_images()
    assert len(images) == NUM_IMAGES
    assert len({it.data.size for it in images}) == 8
