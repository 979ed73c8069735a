"""The file formats; every file here that declares one adds it."""
