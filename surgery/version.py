"""The version of surgery, which nothing has to be imported for."""

__version__ = "0.2.0"
