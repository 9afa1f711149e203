"""How many messages stand where, counted as they move (ADR 12)."""
