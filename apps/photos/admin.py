from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.photos import services
from apps.photos.models import Photo


@admin.register(Photo)
class PhotoAdmin(admin.ModelAdmin):
    list_display = ("filename", "owner", "state", "size", "created")
    list_filter = ("state", "content_type")
    list_select_related = ("owner",)
    search_fields = ("filename", "owner__email", "sha256")
    fields = (
        "owner", "filename", "links", ("state", "error"), ("content_type", "size"), ("width", "height"),
        "sha256", "original", "created",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    @admin.display(description=_("links"))
    def links(self, photo: Photo) -> str:
        urls = [(services.download_url(photo), gettext("original"))]
        if photo.state == Photo.State.READY:
            urls += [
                (rendition.url, f"{rendition.width} × {rendition.height}") for rendition in (photo.small, photo.large)
            ]
        return format_html_join(" · ", '<a href="{}">{}</a>', urls)
