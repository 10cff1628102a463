"""Recognising recurrences that are spelled with ordinary ops: the algebra of cells, and what is told from it."""
