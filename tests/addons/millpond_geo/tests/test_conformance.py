"""Conformance tests of Millpond Geo's components."""

import base64

import numpy as np
from millpond_geo.tiny import write_tiny

from millpond.testing.conformance import ArchitectureConformance, IOProcessorConformance

RANDOM = np.random.default_rng(0)
SMALL_TILE, WIDE_TILE, LARGE_TILE = (
    RANDOM.standard_normal((4, *sides), dtype=np.float32) for sides in ((4, 4), (8, 24), (64, 64))
)
ENCODED = {"b64": base64.b64encode(WIDE_TILE.tobytes()).decode(), "shape": [4, 8, 24]}


class TestTileSegmenter(ArchitectureConformance):
    """Tests of the model, through its IO processor."""

    name = "TileSegmenter"
    reads_tokens = False
    bfloat16 = None  # classes of pixels are equal or not: masks have no tolerance

    def checkpoint(self, folder):
        """Write a tiny model."""
        return write_tiny(folder)

    def prompts(self, llm):
        """Return tiles of different sizes."""
        return [
            {"data": {"tiles": tiles}} for tiles in ([SMALL_TILE], [WIDE_TILE, SMALL_TILE], [LARGE_TILE], [], [ENCODED])
        ]


class TestTilesProcessor(IOProcessorConformance):
    """Tests of the IO processor."""

    name = "tiles"
    items = (
        {"tiles": [SMALL_TILE]},
        {"tiles": [WIDE_TILE, LARGE_TILE]},
        {"tiles": (ENCODED,)},
        {"tiles": [WIDE_TILE.astype(np.float64)]},
    )
    chunked = (({"tiles": []}, 0), ({"tiles": [SMALL_TILE]}, 1), ({"tiles": [SMALL_TILE] * 40}, 40))
    refused = (
        {"tiles": [SMALL_TILE[:3]]},
        {"tiles": [SMALL_TILE[:, :3]]},
        {"tiles": [np.zeros((4, 128, 4))]},
        {"tiles": [{**ENCODED, "b64": "%%%"}]},
        {"tiles": [{**ENCODED, "shape": [4, 8, 8]}]},
        {"tiles": [SMALL_TILE] * 257},
    )

    def checkpoint(self, folder):
        """Write a tiny model."""
        return write_tiny(folder)
