"""Kit for plugins with HTTP routes: the records of routes, and their checks."""
