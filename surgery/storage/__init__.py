"""Byte-level storage: local and remote files, descriptors, checksums, locks, caches."""
