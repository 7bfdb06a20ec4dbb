"""Layers that models are composed of. Not a public interface: others use them at their own risk."""
