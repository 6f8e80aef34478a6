from django.db import models


class Diagnosis(models.Model):
    created = models.DateTimeField(auto_now_add=True)
    results = models.JSONField()
    heatmap = models.TextField(blank=True, null=True)
