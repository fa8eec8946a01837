"""Commands that make and read outcome tables, data sets and content: one file per command."""
