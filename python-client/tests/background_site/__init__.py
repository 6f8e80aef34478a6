"""A site that stores photos and has workers predict: what the tests of the background start."""

# As Celery's manual has it: the site's processes know the broker too.
from .celery_app import app as celery_app

__all__ = ["celery_app"]
