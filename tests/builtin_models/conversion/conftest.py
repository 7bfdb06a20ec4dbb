"""The logits of transformers for tests of converters."""

import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture(scope="session")
def logits(transformers):
    """The logits of transformers' class of the same name in float32, as [length, classes] or [classes]."""

    def logits(folder, prompts):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
        model = getattr(transformers, config.architectures[0])(config).eval()
        tensors = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        lost = model.load_state_dict(tensors, strict=False)
        assert not lost.unexpected_keys
        assert set(lost.missing_keys) <= {"lm_head.weight"}
        model.tie_weights()
        with torch.inference_mode():
            return [model(torch.tensor([ids])).logits[0].numpy() for ids in prompts]

    return logits
