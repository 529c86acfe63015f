"""U²-Net: configuration, network, image processors and pipeline."""
