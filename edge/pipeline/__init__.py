"""One frame through its stages: preprocess, invoke, smooth."""
