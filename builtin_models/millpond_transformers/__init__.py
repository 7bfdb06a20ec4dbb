"""Models that transformers has and nobody serves natively, run by its own classes; the one place that imports them."""
