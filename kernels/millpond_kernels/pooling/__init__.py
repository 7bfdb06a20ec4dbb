"""Ops on hidden states after the model: pooling, normalising, sparse vectors, late interaction."""
