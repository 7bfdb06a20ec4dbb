"""Converters of generative and classification checkpoints to pooling models."""
