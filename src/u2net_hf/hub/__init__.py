"""What goes to the Hub: models, metrics, data sets, Spaces, and their cards."""
