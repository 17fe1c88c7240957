"""What may skip a frame before the network. A gate has one method: ``pipeline.plugs.Gate``."""
