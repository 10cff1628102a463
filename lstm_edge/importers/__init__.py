"""Importers: one file per format. Each turns a source into a Graph; heavy libraries are imported inside functions."""
