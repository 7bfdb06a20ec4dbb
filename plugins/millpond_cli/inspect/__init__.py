"""Reports on models, kernels and plugins, without loading a model."""
