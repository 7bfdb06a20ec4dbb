"""Prompts of text: from prompts to token ids within the limits of the model."""
