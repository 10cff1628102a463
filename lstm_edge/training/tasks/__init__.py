"""The tasks beside forecasting, a module each with `run(source, options, report)`."""
