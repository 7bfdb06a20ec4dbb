"""Runs models without a native implementation by their classes in transformers; only this package imports them."""
