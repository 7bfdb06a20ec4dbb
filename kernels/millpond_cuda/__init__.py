"""The executor of models on a CUDA device: batches in flight on separate streams, and recorded graphs."""
