"""What makes pooled vectors sparse: the SparseAutoEncoder of sentence-transformers (Wen et al. 2025, 2503.01776)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from millpond.loading.weights import NAMES, check_finite, read_tensors
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.chain import ends_normalized
from millpond_formats.sentence_transformers.files import code_size
from millpond_formats.sentence_transformers.module import SPARSE_CODE

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.repository import Repository

BEFORE, ENCODER, BEHIND = "pre_bias", "encoder.weight", "latent_bias"
TIED = "decoder.linear.weight"  # the encoder's, under the name by which safetensors keeps what is there twice
SMALLEST_SPREAD = 1e-5  # is added to the standard deviation of what is standardised


class SparseCode(nn.Module):
    """``relu(encoder(x - before) + behind)``, in float32, of which the pooler keeps the largest values.

    Where it says so, the values of x are standardised first; and before that x is divided by its length, if a Normalize
    module stands before it.
    """

    def __init__(
        self,
        before: Tensor,
        encoder: Callable[[Tensor], Tensor],
        *,
        standardizes: bool,
        normalize: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.before, self.encoder = before, encoder
        self.standardizes, self.normalize = standardizes, normalize

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, dim] -> [num_rows, features], none of them negative."""
        if self.normalize is not None:
            x = self.normalize(x)
        if self.standardizes:
            x = x - x.mean(dim=-1, keepdim=True)
            x = x / (x.std(dim=-1, keepdim=True) + SMALLEST_SPREAD)
        return self.encoder(x - self.before).relu()


def load_code(ctx: "Context", repository: "Repository", *, allow_pickle: bool) -> SparseCode | None:
    """The sparse code of a repository; None if it has none.

    Raises:
        CheckpointError: If its weights are missing, or not as its config.json says.
    """
    files = repository.sentence_transformers
    module = files.code
    if module is None:
        return None
    ctx = ctx.for_head()
    path = next((module.path / name for name in NAMES if (module.path / name).exists()), None)
    if path is None:
        message = f"{module.path} is a {SPARSE_CODE} module without weights: it should hold {' or '.join(NAMES)}"
        raise CheckpointError(message)
    tensors = {name: t.to(ctx.device, torch.float32) for name, t in read_tensors(path, allow_pickle=allow_pickle)}
    if ENCODER not in tensors and TIED in tensors:
        tensors[ENCODER] = tensors[TIED]
    depth, width = module.config.get("input_dim"), code_size(module)
    for name, shape in ((BEFORE, [depth]), (ENCODER, [width, depth]), (BEHIND, [width])):
        found = None if name not in tensors else list(tensors[name].shape)
        if found != shape:
            message = f"{path}: {name!r} should have the shape {shape}, by its config.json; there is {found or 'none'}"
            raise CheckpointError(message)
        check_finite(name, tensors[name], path)
    return SparseCode(
        tensors[BEFORE],
        ctx.op("linear")(tensors[ENCODER], tensors[BEHIND]),
        standardizes=bool(module.config.get("normalize", False)),
        normalize=ctx.activation("normalize") if ends_normalized(files.modules, module) else None,
    )
