"""Ministral 3, causal and bidirectional."""
