"""What may skip a frame before the network."""
