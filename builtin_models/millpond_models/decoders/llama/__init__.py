"""Llama, causal and bidirectional."""
