"""Whether a model is right: against its own framework, against labels, on the machine at hand."""
