"""The fixture of the tests of BackgroundEngine, from tests/support."""

from engine_kit import deaths  # noqa: F401  a fixture
