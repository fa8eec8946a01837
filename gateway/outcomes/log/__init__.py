"""What is kept of decisions, labels and content. Rule: it is told what was decided, and is never asked on the path."""
