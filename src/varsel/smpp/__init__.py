"""SMPP 3.4 on the wire: what our client and the simulated SMSC share."""
