from django.contrib import admin
from django.http import HttpRequest

from apps.photos.models import Photo


@admin.register(Photo)
class PhotoAdmin(admin.ModelAdmin):
    list_display = ("filename", "owner", "state", "size", "created")
    list_filter = ("state",)
    list_select_related = ("owner",)
    search_fields = ("filename", "owner__email", "sha256")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
