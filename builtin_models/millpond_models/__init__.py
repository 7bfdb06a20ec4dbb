"""The built-in model architectures."""
