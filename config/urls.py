"""The site's addresses. The health probes are answered before them, by twelve.web.health."""

from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from django.contrib import admin
from django.shortcuts import redirect
from django.urls import include, path

from twelve.services.storage import serve_media

# People sign in and change passwords by allauth's pages alone, whose limits and mails the admin's do not have.
admin.site.login = secure_admin_login(lambda request, **kwargs: redirect("admin:index"))  # type: ignore[method-assign]
admin.site.password_change = lambda request, **kwargs: redirect("account_change_password")  # type: ignore[assignment,method-assign]
admin.site.unregister(EmailAddress)  # the page of the user keeps the account and its address in step

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
