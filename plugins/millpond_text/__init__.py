"""Kit of prompts and text steps: the way of a text to its sequences, and of their results to its output."""
