"""Parts of requests and responses that several APIs share."""
