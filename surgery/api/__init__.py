"""The library: what the command does, from Python. `surgery` itself imports it when it is used."""
