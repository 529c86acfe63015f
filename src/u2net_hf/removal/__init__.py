"""From a photo to its cut-out."""
