"""The HTTP server: a photo is posted, its cut-out comes back."""
