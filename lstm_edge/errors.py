"""The exceptions of lstm_edge. All of them are LstmEdgeError and ValueError."""


class LstmEdgeError(ValueError):
    """Base of every error the library raises on purpose."""


class FormatError(LstmEdgeError):
    """A file is damaged, truncated, of a foreign kind or of a newer major version."""


class UnsupportedModelError(LstmEdgeError):
    """A model asks for something that lstm_edge does not do; the message names the node and what to do."""


class ShapeError(LstmEdgeError):
    """An array has the wrong shape or dtype; the message says what was expected and what was found."""
