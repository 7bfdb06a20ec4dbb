"""What routes do, a module a family: a validated body and a model in, an answer out."""
