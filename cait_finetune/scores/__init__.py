"""How good a model is: figures, predictions kept, and how far its probabilities can be believed."""
