"""U-Net: configuration, network and image processors."""
