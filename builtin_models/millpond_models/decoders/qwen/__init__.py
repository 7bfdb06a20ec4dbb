"""Qwen2, Qwen3 and their reward models."""
