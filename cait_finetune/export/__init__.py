"""A fine-tuned model as a file that others can use, checked before it is called written."""
