"""The training engine: one step function and the loop around it."""
