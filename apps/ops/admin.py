from django.contrib import admin

from apps.jobs.admin import ReadOnlyAdmin
from apps.ops.models import Run


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ("command", "arguments", "who", "started", "seconds", "status", "ending", "release")
    list_filter = ("status", "started", "command")
    search_fields = ("command", "arguments", "who")
    ordering = ("-started",)
