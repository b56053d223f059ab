"""Write a Weights & Biases sweep from command-line words in the syntax of Hydra's sweepers."""
