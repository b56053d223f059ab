"""Write a Weights & Biases sweep from words in the syntax of Hydra's sweepers."""
