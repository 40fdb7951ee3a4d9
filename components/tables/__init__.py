"""Tables of any format: reading them, typing their columns, judging their rows."""
