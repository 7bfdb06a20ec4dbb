"""vLLM's API."""
