"""Tokens of character spans, and windows of chunks: numbers only, without a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond import InvalidInputError
from millpond_io.chunking.spans import characters_of, chunks_of_spans, chunks_of_tokens, tokens_of
from millpond_io.chunking.windows import choose_windows

TEXT = "one two  three"  # two spaces
# As a tokenizer of words with special tokens has them, and as one that counts spaces to the word behind them.
PLAIN = tokens_of(TEXT, [1, 5, 6, 7, 2], [(0, 0), (0, 3), (4, 7), (9, 14), (0, 0)])
SPACED = tokens_of(TEXT, [5, 6, 7], [(0, 3), (3, 7), (7, 14)])
PROMPTED = tokens_of(TEXT, [1, 9, 5, 6, 7, 2], [(0, 0), (0, 4), (4, 8), (8, 12), (12, 19), (0, 0)], prompt="to: ")


@pytest.mark.parametrize(
    ("tokens", "first"), [(PLAIN, 1), (SPACED, 0), (PROMPTED, 2)], ids=["plain", "spaced", "prompt"]
)
def test_a_token_belongs_to_every_span_that_it_overlaps(tokens, first):
    spans = [(0, 3), (4, 7), (0, 7), (2, 5), (13, 14), (0, 14), (0, 4), (7, 10)]
    wanted = [(0, 1), (1, 2), (0, 2), (0, 2), (2, 3), (0, 3), (0, 1), (2, 3)]
    chunks = chunks_of_spans(tokens, spans, TEXT)
    assert chunks == [(first + start, first + stop) for start, stop in wanted]
    assert tokens.content == (first, first + 3)


@pytest.mark.parametrize("span", [(3, 4), (7, 9), (8, 9)])
@pytest.mark.parametrize("tokens", [PLAIN, SPACED, PROMPTED], ids=["plain", "spaced", "prompt"])
def test_a_span_without_a_token_is_named(tokens, span):
    with pytest.raises(
        InvalidInputError, match=rf"spans\[1\] = \({span[0]}, {span[1]}\) contains no token: its text is ' +'"
    ):
        chunks_of_spans(tokens, [(0, 3), span], TEXT)


def test_chunks_of_tokens_have_the_given_overlap_and_end_with_the_text():
    ten = tokens_of("a" * 10, list(range(12)), [(0, 0), *((index, index + 1) for index in range(10)), (0, 0)])
    assert chunks_of_tokens(ten, 4, 0) == [(1, 5), (5, 9), (9, 11)]
    assert chunks_of_tokens(ten, 4, 1) == [(1, 5), (4, 8), (7, 11)]
    assert chunks_of_tokens(ten, 4, 3) == [(index, index + 4) for index in range(1, 8)]
    assert chunks_of_tokens(ten, 10, 2) == chunks_of_tokens(ten, 99, 2) == [(1, 11)]
    assert [characters_of(ten, chunk) for chunk in chunks_of_tokens(ten, 4, 0)] == [(0, 4), (4, 8), (8, 10)]
    assert chunks_of_tokens(tokens_of("", [1, 2], [(0, 0), (0, 0)]), 4, 0) == []


def test_spaces_alone_are_a_token_where_the_tokenizer_has_one():
    tokens = tokens_of("a  b", [5, 6, 7], [(0, 1), (1, 3), (3, 4)])
    assert chunks_of_spans(tokens, [(1, 3)], "a  b") == [(1, 2)]


@given(
    length=st.integers(1, 300),
    room=st.integers(1, 80),
    shift=st.integers(0, 5),
    places=st.lists(st.tuples(st.integers(0, 299), st.integers(1, 80)), min_size=1, max_size=20),
)
def test_every_chunk_is_held_by_its_window_with_context_on_both_sides(length, room, shift, places):
    content = (shift, shift + length)
    chunks = []
    for start, size in places:
        first = shift + start % length
        chunks.append((first, min(first + min(size, room), content[1])))
    windows = choose_windows(chunks, content, room)
    assert len(windows) == len(chunks)
    for chunk, window in zip(chunks, windows, strict=True):
        assert content[0] <= window[0] <= chunk[0]
        assert chunk[1] <= window[1] <= content[1]
        assert window[1] - window[0] == min(room, length)
        before, behind = context(chunk, window, content)
        if min(before, behind) < room // 4 - (chunk[1] - chunk[0]) // 2 - 1:
            pytest.fail(f"the chunk {chunk} has {before} and {behind} tokens around it in {window} of {content}")


def context(chunk, window, content):
    """The tokens on both sides of a chunk that its window holds; more than any text where the text itself ends."""
    before = 1000 if window[0] == content[0] else chunk[0] - window[0]
    behind = 1000 if window[1] == content[1] else window[1] - chunk[1]
    return before, behind


def test_windows_overlap_by_half_and_a_chunk_that_none_holds_has_its_own():
    assert choose_windows([(0, 4), (6, 8), (10, 13), (17, 20)], (0, 20), 8) == [(0, 8), (4, 12), (8, 16), (12, 20)]
    assert choose_windows([(2, 9)], (0, 20), 8) == [(2, 10)]
    assert choose_windows([(0, 3), (2, 5)], (0, 5), 8) == [(0, 5), (0, 5)]
