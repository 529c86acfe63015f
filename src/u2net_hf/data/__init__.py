"""Corpora of images with masks, and what is done to them before training."""
