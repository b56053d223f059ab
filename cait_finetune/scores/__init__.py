"""How good a model is: metrics, predictions kept, and how far its probabilities can be believed."""
