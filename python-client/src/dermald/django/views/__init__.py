"""The pages of `dermald.django.urls`, and their asynchronous forms."""

from .classify import aclassify, classify
from .health import ahealth, health
from .memory import memory_status
from .metrics import metrics
from .status import status

__all__ = ["aclassify", "ahealth", "classify", "health", "memory_status", "metrics", "status"]
