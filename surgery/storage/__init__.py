"""Where bytes are: files here and elsewhere, descriptors, checksums, locks, caches."""
