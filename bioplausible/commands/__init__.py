"""What ``python -m bioplausible`` runs."""
