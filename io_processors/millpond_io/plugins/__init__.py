"""IO processors that are compatible with vLLM's example plugins."""
