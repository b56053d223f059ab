"""What pretrained weights are worth: runs by method, training images and seed, side by side."""
