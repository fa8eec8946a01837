"""Draws questions: images with a question whose answer is known because the image was drawn from it.

Rule: one file a family; each function takes (generator, level) and gives a Sketch. Level 0 is easy, 2 is hard.
"""
