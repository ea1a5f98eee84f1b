"""`make bench`: ion, a plain loop and the ceilings, side by side, at several distances from the SMTP server."""
