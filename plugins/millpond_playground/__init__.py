"""The playground: a page to try the models of a server."""
