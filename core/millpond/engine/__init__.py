"""The engine: batches requests and runs them through the model. It does not depend on text, task names or HTTP."""
