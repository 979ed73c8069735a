"""Reports on models and runs, for people and for programs."""
