"""InternLM2."""
