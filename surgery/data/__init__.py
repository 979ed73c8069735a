"""Kinds of data for training and evaluation, one a module."""
