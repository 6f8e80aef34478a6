"""The tables of dermald.django.background."""
