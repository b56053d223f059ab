"""A sweep by Weights & Biases, written from the words that Hydra's own sweepers take."""
