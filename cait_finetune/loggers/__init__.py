"""Where a run is written besides its own files: W&B, TensorBoard, CSV; any number at once."""
