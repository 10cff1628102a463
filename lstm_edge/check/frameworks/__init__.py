"""The frameworks that run the sources: each file knows one, and imports it only when it is asked to run a model.

A framework answers a Question about a file in a process of its own (child.py), about a live object in this one.
"""
