"""What Millpond Geo brings is held against what Millpond asks of all plugins."""

import base64

import numpy as np
from millpond_geo.tiny import write_tiny

from millpond.testing.conformance import ArchitectureConformance, IOProcessorConformance

RANDOM = np.random.default_rng(0)
SMALL, WIDE, LARGE = (RANDOM.standard_normal((4, *sides), dtype=np.float32) for sides in ((4, 4), (8, 24), (64, 64)))
ENCODED = {"b64": base64.b64encode(WIDE.tobytes()).decode(), "shape": [4, 8, 24]}


class TestTileSegmenter(ArchitectureConformance):
    """The model, by way of its IO processor."""

    name = "TileSegmenter"
    reads_tokens = False
    bfloat16 = None  # a mask says which class scores highest: it is not close to another

    def checkpoint(self, folder):
        """A tiny model."""
        return write_tiny(folder)

    def prompts(self, llm):
        """Tiles of mixed sizes."""
        return [{"data": {"tiles": tiles}} for tiles in ([SMALL], [WIDE, SMALL], [LARGE], [], [ENCODED])]


class TestTilesProcessor(IOProcessorConformance):
    """The IO processor."""

    name = "tiles"
    items = ({"tiles": [SMALL]}, {"tiles": [WIDE, LARGE]}, {"tiles": (ENCODED,)}, {"tiles": [WIDE.astype(np.float64)]})
    chunked = (({"tiles": []}, 0), ({"tiles": [SMALL]}, 1), ({"tiles": [SMALL] * 40}, 40))
    refused = (
        {"tiles": [SMALL[:3]]},
        {"tiles": [SMALL[:, :3]]},
        {"tiles": [np.zeros((4, 128, 4))]},
        {"tiles": [{**ENCODED, "b64": "%%%"}]},
        {"tiles": [{**ENCODED, "shape": [4, 8, 8]}]},
        {"tiles": [SMALL] * 257},
    )

    def checkpoint(self, folder):
        """A tiny model."""
        return write_tiny(folder)
