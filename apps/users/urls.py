from allauth.account.views import EmailView, SignupView
from django.db import transaction
from django.urls import include, path

from apps.users.views import sign_in

# These stand before allauth's own, of the same names.
urlpatterns = [
    path("login/", sign_in, name="account_login"),
    # The account, its address and the job of its mail: all of them or none.
    path("signup/", transaction.atomic(SignupView.as_view()), name="account_signup"),
    path("email/", transaction.atomic(EmailView.as_view()), name="account_email"),
    path("", include("allauth.account.urls")),
]
