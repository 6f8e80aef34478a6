from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            "Diagnosis",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("created", models.DateTimeField(auto_now_add=True)),
                ("results", models.JSONField()),
                ("heatmap", models.TextField(blank=True, null=True)),
            ],
        )
    ]
