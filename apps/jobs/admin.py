from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apps.jobs import services
from apps.jobs.models import ClockEntry, Job


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "state", "attempts", "due", "finished", "error")
    list_filter = ("state", "task")
    search_fields = ("task", "key", "request_id")
    fields = (
        ("task", "key"), "shown_arguments", ("state", "attempts"), "error", ("created", "due", "finished"), "request_id"
    )  # fmt: skip
    actions = ("retry",)

    @admin.display(description=_("arguments"))
    def shown_arguments(self, job: Job) -> str:
        try:
            _function, options = services.options_of(job.task)
        except services.PermanentFailure:
            return "***"
        return "***" if options.secret else str(job.arguments)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.change_job")

    @admin.action(description=_("Try the selected failed jobs again"), permissions=("retry",))
    def retry(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        count = services.retry(queryset)
        text = ngettext("%d failed job starts anew.", "%d failed jobs start anew.", count) % count
        self.message_user(request, text, messages.SUCCESS if count else messages.WARNING)


@admin.register(ClockEntry)
class ClockEntryAdmin(ReadOnlyAdmin):
    list_display = ("name", "last_run_at")
