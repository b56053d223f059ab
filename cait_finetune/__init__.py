"""Fine-tune CaiT image models in TensorFlow."""

__version__ = "0.1.0"
