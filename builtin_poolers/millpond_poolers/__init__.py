"""The poolers and activations that Millpond comes with."""
