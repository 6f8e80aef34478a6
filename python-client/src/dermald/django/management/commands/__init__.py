"""`manage.py dermald`."""
