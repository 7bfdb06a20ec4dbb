"""Texts for models of modalities that plugins declare."""

from dataclasses import replace

import pytest
from odd_records import ACME

from millpond import LLM
from millpond.types.errors import InvalidInputError


def test_a_text_for_a_model_of_another_modality_names_the_modality(tiny_folder, plugin_manager):
    spec = plugin_manager.registry.architectures.get("BertModel").spec
    plugin_manager.registry.register(replace(spec, modalities=("series",)), ACME)
    with LLM(str(tiny_folder), plugins=plugin_manager, skip_tokenizer_init=True, num_workers=1) as llm:
        assert llm.model_config.multimodal.modalities == ("series",)
        with pytest.raises(InvalidInputError, match="reads series, not text"):
            llm.embed("a cat", use_tqdm=False)
