"""Hidden states of decoders, computed by transformers."""

import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture(scope="session")
def reference(transformers):
    """The hidden states of transformers; the weights are loaded strictly."""

    def reference(folder, prompts, *, dtype=torch.float32):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
        tensors = load_file(folder / "model.safetensors")
        tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if "lm_head" not in name}
        model = transformers.AutoModel.from_config(config, dtype=torch.float32)
        model.load_state_dict(tensors)
        model = model.eval().to(dtype)
        with torch.inference_mode():
            states = [model(torch.tensor([ids]), use_cache=False).last_hidden_state[0] for ids in prompts]
        return [rows.float().numpy() for rows in states]

    return reference
