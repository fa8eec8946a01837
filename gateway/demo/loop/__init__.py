"""The demo of the learning loop: from a poor router to a better one by its own traffic."""
