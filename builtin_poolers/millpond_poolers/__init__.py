"""The built-in poolers and activations."""
