"""The file formats; each module here registers its classes."""
