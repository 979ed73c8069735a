"""Planning a recipe, and carrying the plan out."""
