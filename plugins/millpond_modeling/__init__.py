"""Building blocks that plugins of models, poolers, kernels and IO processors share."""
