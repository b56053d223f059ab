"""Images that are made, not collected: letters, fractals and textures, thousands of classes of them.

For pretraining without a download and without anybody's photographs. Everything follows from a seed,
a class and a number, so that the same set comes out again, as far as the fonts that matplotlib ships
and the library that draws them are the same. There is no digit among the letters: what is trained on
these may be tried on digits.
"""
