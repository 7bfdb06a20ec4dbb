"""Entities of types that each request names: GLiNER on the native DeBERTa."""
