"""The Python library; `surgery` imports its modules on first use."""
