"""The pipeline: preprocess, invoke, smooth; and where gates and observers join it."""
