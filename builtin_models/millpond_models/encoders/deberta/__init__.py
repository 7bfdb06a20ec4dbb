"""DeBERTa, second and third version."""
