"""BERT and its classifiers."""
