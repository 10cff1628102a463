"""What stands before, between and after networks, built into the one Graph that a file holds."""
