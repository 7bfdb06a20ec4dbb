"""MILLPOND_CPU_LEVEL: compiled kernels use no more of a processor than the level names."""

import logging

import pytest
import torch

from millpond_kernels import native

EVERYTHING = {"avx512_vnni": True, "avx_vnni": True}


@pytest.fixture
def processor(monkeypatch):
    """Replace this processor by one with the given vectors and flags, at a given level."""

    def replace(vectors, flags=(), level=None):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: vectors)
        monkeypatch.setattr(native, "processor_flags", lambda: dict.fromkeys(flags, True))
        if level is not None:
            monkeypatch.setenv("MILLPOND_CPU_LEVEL", level)

    monkeypatch.delenv("MILLPOND_CPU_LEVEL", raising=False)
    return replace


@pytest.mark.parametrize(
    ("level", "vectors", "dot_products"),
    [
        ("default", "DEFAULT", False),
        ("avx2", "AVX2", False),
        ("avx_vnni", "AVX2", True),
        ("avx512", "AVX512", False),
        ("avx512_vnni", "AVX512", True),
        ("", "AVX512", True),
    ],
)
def test_a_level_limits_the_vectors_and_instructions(processor, level, vectors, dot_products):
    processor("AVX512", EVERYTHING, level)
    assert native.capability() == vectors
    assert native.has_dot_products(vectors) is dot_products


@pytest.mark.parametrize("level", native.LEVELS)
def test_a_level_never_exceeds_that_of_the_processor(processor, level):
    processor("AVX2", (), level)
    assert native.capability() == ("DEFAULT" if level == "default" else "AVX2")
    assert not native.has_dot_products("AVX2")
    assert not native.has_dot_products("AVX512")


def test_the_level_does_not_apply_to_sve(processor):
    processor("SVE256", (), "avx2")
    assert native.capability() == "SVE256"
    assert not native.has_dot_products("SVE256")


def test_an_unknown_level_is_ignored_with_one_warning(processor, caplog):
    processor("AVX512", EVERYTHING, "avx1024")
    with caplog.at_level(logging.WARNING):
        assert {native.capability() for _ in range(3)} == {"AVX512"}
    (record,) = caplog.records
    assert "MILLPOND_CPU_LEVEL=avx1024 is ignored: unknown level. Available: default, avx2" in record.getMessage()
