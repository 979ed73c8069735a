"""Expectations that recipes have of their results; each module here registers its classes."""
