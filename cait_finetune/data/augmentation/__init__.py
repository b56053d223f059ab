"""What is done to training images at random: pure functions of the image and a seed."""
