"""The site's addresses. The health probes are answered before them, by apps.ops.health."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from config.media import serve_media

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]  # its limits hold here, too

urlpatterns = [
    path("", include("apps.pages.urls")),
    path("accounts/", include("apps.users.urls")),
    path("photos/", include("apps.photos.urls")),
    path("admin/", admin.site.urls),
    path("media/<path:name>", serve_media, name="media"),
]

handler400 = "apps.pages.views.bad_request"
handler403 = "apps.pages.views.permission_denied"
handler404 = "apps.pages.views.page_not_found"
handler500 = "apps.pages.views.server_error"
