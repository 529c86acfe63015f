"""Image files: open, depth, color, save."""
