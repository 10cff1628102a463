"""Containers that models come in, read without running or trusting anything: pickles, zips, HDF5."""
