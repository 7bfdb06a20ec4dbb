"""Ollama's HTTP API for models served with Millpond."""
