"""Corpora of photos to corpora of maps or labels, in this process or on many machines."""
