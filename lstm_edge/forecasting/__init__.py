"""Forecasting with a converted model: the loop that feeds answers back runs in the core; here it is prepared. NumPy alone.

`Model.forecast` and `Stream.forecast` (_core.pyx) are the door. description.py is what a file says of its forecast, plan.py what
continues what, frames.py how arrays are cut into frames, futures.py the inputs of the times to come, forecast.py the calls.
"""

from .description import Description
from .forecast import forecast_model, forecast_stream

__all__ = ["Description", "forecast_model", "forecast_stream"]
