"""Which parameters move, how far, and when."""
