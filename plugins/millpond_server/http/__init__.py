"""HTTP: connections, bodies, limits, keys and errors, for any route."""
