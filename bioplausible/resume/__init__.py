"""Checkpoints, and training that goes on from them as if it had never stopped."""
