"""Generate images of letters, fractals and textures with thousands of classes, for pretraining.

No download and no photographs are needed. The seed, the split, the class and the image's number
determine each image, given the same fonts in matplotlib and the same drawing library. The letters
contain no digits, so a model that is trained on them can be tested on digits.
"""
