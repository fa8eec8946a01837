"""What came of requests: the decision log, labels, graders, collected outcomes, and reports made of them."""
