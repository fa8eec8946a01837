"""The demo of the learning loop: from a poor router to a better one, through its own traffic."""
