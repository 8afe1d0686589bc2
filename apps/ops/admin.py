from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.jobs.admin import ReadOnlyAdmin
from apps.ops.models import Release, Run


@admin.register(Release)
class ReleaseAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "commit", "released_at", "released_by", "is_current")
    search_fields = ("version", "commit", "released_by")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Release]:
        later = Release.objects.filter(pk__gt=OuterRef("pk"))
        return super().get_queryset(request).annotate(current=~Exists(later))

    @admin.display(description=_("current"), boolean=True)
    def is_current(self, release: Any) -> bool:
        return release.current


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ("command", "arguments", "who", "started", "seconds", "status", "ending", "release")
    list_filter = ("status", "started", "command")
    search_fields = ("command", "arguments", "who")
    ordering = ("-started",)
