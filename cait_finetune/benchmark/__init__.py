"""Speed and memory of the input, the model and the start; accuracy of the tuning methods."""
