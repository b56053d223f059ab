"""The input pipeline: sources, decoding, preprocessing, augmentation, batches."""
