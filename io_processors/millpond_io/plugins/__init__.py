"""The IO processors that vLLM publishes as example plugins."""
