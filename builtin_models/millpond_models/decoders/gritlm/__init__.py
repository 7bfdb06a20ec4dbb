"""GritLM."""
