"""A whole post-norm encoder layer as one op."""
