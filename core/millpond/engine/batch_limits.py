"""The limits of a batch on a device: small for a CPU's caches, large for the many units of an accelerator."""

import torch

from millpond.types.config import EngineConfig

CPU_TOKENS, CPU_SEQS = 1024, 512
ACCELERATOR_TOKENS, ACCELERATOR_SEQS = 8192, 4096
MIN_CUDA_TOKENS, MAX_CUDA_TOKENS = 4096, 65_536
BYTES_PER_TOKEN = 2**20  # enough for most models; if it is not, batches become smaller


def batch_limits(config: EngineConfig, device: torch.device) -> tuple[int, int]:
    """Return the maximum number of tokens and of prompts of a batch: those of the config, else those for the device.

    The limits of a CUDA device follow from its total memory, not from what is free, so that they, and the rounding that
    depends on the size of batches, are the same in each run.
    """
    is_cpu = device.type == "cpu"
    tokens = config.max_num_batched_tokens or (CPU_TOKENS if is_cpu else _accelerator_tokens(device))
    return tokens, config.max_num_seqs or (CPU_SEQS if is_cpu else ACCELERATOR_SEQS)


def _accelerator_tokens(device: torch.device) -> int:
    if device.type != "cuda" or not torch.cuda.is_available():
        return ACCELERATOR_TOKENS
    fitting = torch.cuda.get_device_properties(device).total_memory // BYTES_PER_TOKEN
    return min(max(_power_of_two(fitting), MIN_CUDA_TOKENS), MAX_CUDA_TOKENS)


def _power_of_two(number: int) -> int:
    """Return the largest power of two that is at most a number; 1 for 0."""
    return 1 << max(number.bit_length() - 1, 0)
