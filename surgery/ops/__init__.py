"""The ops of the recipe language; each module here registers its classes."""
