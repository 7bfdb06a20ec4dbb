"""The feed-forward half of a layer, and the activations and gates between its maps."""
