"""Random augmentation of training images, as pure functions of the image and a seed."""
