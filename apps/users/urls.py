from allauth.account.views import EmailView, SignupView
from django.db import transaction
from django.urls import include, path

urlpatterns = [
    # The account, its address and the job of its mail: all of them or none.
    path("signup/", transaction.atomic(SignupView.as_view()), name="account_signup"),
    path("email/", transaction.atomic(EmailView.as_view()), name="account_email"),
    path("", include("allauth.account.urls")),
]
