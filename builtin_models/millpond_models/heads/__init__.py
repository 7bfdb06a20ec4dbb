"""Classification heads that models share."""
