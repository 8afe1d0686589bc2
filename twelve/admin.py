from typing import Any

from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from twelve.models import ClockEntry, Release, Run, TaskRecord
from twelve.tasks.base import find_task
from twelve.tasks.table import retry

HIDDEN = ("args", "kwargs", "errors", "return_value")


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(TaskRecord)
class TaskAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "queue", "status", "attempts", "due", "finished_at", "error")
    list_filter = ("status",)
    ordering = ("-pk",)
    show_full_result_count = False
    search_fields = ("task", "unique_key", "request_id")
    fields = (
        ("task", "queue", "unique_key"), "arguments", ("status", "attempts"), "error",
        ("enqueued_at", "due", "finished_at"), "request_id",
    )  # fmt: skip
    actions = ("retry",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[TaskRecord]:
        return super().get_queryset(request).defer(*HIDDEN)  # they may be large

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Refuse filters by arguments, which would reveal secret ones."""
        return lookup.partition("__")[0] not in HIDDEN and super().lookup_allowed(lookup, value, request)

    @admin.display(description=_("arguments"))
    def arguments(self, record: TaskRecord) -> str:
        task = find_task(record.task)
        if task is None or task.secret:
            return "***"
        return ", ".join([*map(repr, record.args), *(f"{name}={value!r}" for name, value in record.kwargs.items())])

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("twelve.change_taskrecord")

    @admin.action(description=_("Run the selected failed tasks again"), permissions=("retry",))
    def retry(self, request: HttpRequest, queryset: QuerySet[TaskRecord]) -> None:
        count = retry(queryset)
        text = ngettext("%d failed task is started again.", "%d failed tasks are started again.", count) % count
        self.message_user(request, text, messages.SUCCESS if count else messages.WARNING)


@admin.register(ClockEntry)
class ClockEntryAdmin(ReadOnlyAdmin):
    list_display = ("name", "last_run_at")


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
    list_display = ("command", "options", "who", "started", "seconds", "status", "ending", "release")
    list_filter = ("status", "started", "command")
    search_fields = ("command", "options", "who")
    ordering = ("-started",)
