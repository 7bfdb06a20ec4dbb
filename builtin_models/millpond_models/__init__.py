"""The model architectures that Millpond comes with."""
