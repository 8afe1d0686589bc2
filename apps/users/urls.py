from allauth.account import views
from allauth.account.decorators import reauthentication_required
from django.contrib.auth.decorators import login_required
from django.urls import include, path, re_path

from apps.users.views import all_or_nothing, sign_in

# These stand before allauth's own, of the same names.
urlpatterns = [
    path("login/", sign_in, name="account_login"),
    # The account, its address and the task of its mail: all of them or none.
    path("signup/", all_or_nothing(views.signup), name="account_signup"),
    # allauth asks for the password before it adds or removes an address, but not before it sends a code.
    path(
        "email/",
        all_or_nothing(login_required(reauthentication_required(views.email, allow_get=True))),
        name="account_email",
    ),
    path("confirm-email/", all_or_nothing(views.email_verification_sent), name="account_email_verification_sent"),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        all_or_nothing(views.password_reset_from_key),
        name="account_reset_password_from_key",
    ),
    path("", include("allauth.account.urls")),
]
