"""From a call to its outputs: validation, preprocessing, the engine, postprocessing."""
