"""What a recipe expects of its result; a file dropped in here registers itself."""
