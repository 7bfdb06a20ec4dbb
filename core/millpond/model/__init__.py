"""Models before their weights: files, layers of settings, and the resolved model. Does not import torch."""
