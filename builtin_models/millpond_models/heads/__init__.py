"""Classification heads shared by the models."""
