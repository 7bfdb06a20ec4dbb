"""Tiny checkpoints of the built-in architectures, which their specs name as ``extras.tiny``."""
