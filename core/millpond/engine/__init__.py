"""Running a model: requests in, batches through the model, results out. Knows nothing of text, tasks' names or HTTP."""
