"""Image files to the names and probabilities of their classes, with whatever a run has left."""
