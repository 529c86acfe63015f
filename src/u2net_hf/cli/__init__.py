"""The command `u2net-hf`."""
