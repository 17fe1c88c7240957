"""What happens to a classified frame. An observer is a ``pipeline.plugs.Observer``."""
