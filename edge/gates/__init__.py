"""What may skip a frame before the model runs. A gate has one method: ``pipeline.plugs.Gate``."""
