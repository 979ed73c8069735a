"""Planning of recipes, and execution of the plans."""
