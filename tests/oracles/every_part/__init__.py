"""What data modules, networks, training, checkpoints and ``verify`` come to today, and how that is recorded."""
