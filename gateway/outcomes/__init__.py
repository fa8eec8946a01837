"""The outcomes of requests: the decision log, labels, graders, collected outcomes, and reports made from them."""
