"""Implementations of the ops of models. Each op has a reference in plain torch, with which the others are compared."""
