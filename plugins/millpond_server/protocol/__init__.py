"""What requests and answers look like, a module a family of routes."""
