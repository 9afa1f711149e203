"""Bulk sending: a file of recipients is checked, confirmed, and becomes one order for each of its rows."""
