"""What stands before and after the network in the same file: raw values in, real units out."""
