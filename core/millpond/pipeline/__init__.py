"""From a call to its outputs: validation, preprocessing, engine, postprocessing."""
