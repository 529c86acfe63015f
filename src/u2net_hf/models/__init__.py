"""The networks, a folder each: configuration, network, image processing, pipeline."""
