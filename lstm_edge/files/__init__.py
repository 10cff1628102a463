"""Containers that models come in, read without running anything: pickles."""
