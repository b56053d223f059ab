"""What every command line shares: composing, keys, errors in words, consoles."""
