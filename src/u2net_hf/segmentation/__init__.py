"""Microscope image to objects: labels, a table and an overlay of each page, in memory bounded by the tile."""
