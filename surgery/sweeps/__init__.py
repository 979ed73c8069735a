"""Sweeps: one recipe, many runs, on one machine or on a cluster."""
