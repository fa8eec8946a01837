"""Functions that draw questions: an image with a question, whose answer is known because the image was drawn from it.

Rule: one file per family; each function takes (generator, level) and returns a Sketch. Level 0 is easy, 2 is hard.
"""
