"""Bulk load of the local registers from files (registries 7.5)."""
