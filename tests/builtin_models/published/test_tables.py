"""The tables of published checkpoints: mismatches are detected, and all models are in the specs."""

import re
import runpy
from pathlib import Path

from millpond.testing.checkpoints import write_config
from millpond_models.testing.published import Published

HERE = Path(__file__).parent
E5 = {
    "vocab_size": 30522, "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}  # fmt: skip


def test_extra_and_missing_tensors_are_detected(tmp_path, built):
    lacking = Published(
        "BertModel",
        E5,
        "BertModel",
        without=r"encoder\.layer\.3\.output\.dense\.bias",
        besides={"mill.weight": (2,)},
    )
    write_config(tmp_path, {"architectures": ["BertModel"], **E5})
    _, unused, missing = built(tmp_path, lacking)
    assert unused == ["mill.weight"]
    assert missing == ["layers.3.feed_forward.down.bias"]


def test_published_tables_contain_all_models_of_the_specs(registry):
    tables = [runpy.run_path(str(path)).get("PUBLISHED", {}) for path in sorted(HERE.glob("test_*.py"))]
    published = [name for table in tables for name in table]
    assert len(published) == len(set(published))
    named = {entry.spec.name for entry in registry.published_models.entries()}
    known = [name for name in published if any(re.fullmatch(n.replace("*", ".*"), name) for n in named)]
    assert len(known) > 40
