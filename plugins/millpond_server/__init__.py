"""The HTTP server: Starlette on uvicorn, routes as records; one server for the clients of many."""
