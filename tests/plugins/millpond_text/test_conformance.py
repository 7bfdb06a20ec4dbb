"""Conformance tests of the built-in text steps that a plain model can use."""

from millpond_text.testing import TextStepConformance


class TestNamedPrompt(TextStepConformance):
    name = "named_prompt"


class TestPieces(TextStepConformance):
    name = "pieces"
