"""OUTBOUND edge to candidates. Rule: knows HTTP and one candidate at a time; knows no tenant and no budget."""
