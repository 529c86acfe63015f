"""Weights: the published ones, those to convert."""
