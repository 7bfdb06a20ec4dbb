"""Files of sentence-transformers: the modules of a model, their order, routes, and what is read of each kind."""
