"""Engine processes: several copies of a model on one machine, one for each GPU or part of the CPU."""
