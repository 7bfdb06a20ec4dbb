"""Tiny checkpoints of the built-in architectures, which their records name as ``extras.tiny``."""
