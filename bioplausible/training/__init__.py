"""What every rule needs around its step: the batch and its processes, optimisation, randomness, metrics, logs."""
