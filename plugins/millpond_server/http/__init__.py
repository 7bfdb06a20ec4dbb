"""HTTP for all routes: connections, bodies, limits, API keys and errors."""
