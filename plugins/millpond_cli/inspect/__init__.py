"""Reports on models, kernels and plugins, made without loading a model."""
