"""Images in: sources, decoding, preprocessing, augmentation, batches."""
