"""The messages of proto/deltaserve/v1, generated when the package is built."""
