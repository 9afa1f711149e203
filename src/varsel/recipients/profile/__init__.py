"""What users register for themselves: addresses for an organisation, private numbers, and that they own them."""
