"""The operations of the recipe language; every file here that declares one adds it."""
