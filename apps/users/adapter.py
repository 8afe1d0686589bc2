"""allauth's account adapter: the client's address behind proxies, and who an email address belongs to."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest

from apps.users.models import User


class AccountAdapter(DefaultAccountAdapter):
    def get_client_ip(self, request: HttpRequest) -> str:
        """The address that sign-in limits count by. A request that came past the proxy is counted by its own."""
        try:
            return super().get_client_ip(request)
        except (ImproperlyConfigured, PermissionDenied):  # X-Forwarded-For is too short, or not an address
            return request.META["REMOTE_ADDR"]

    def confirm_email(self, request: HttpRequest, email_address: Any) -> bool:
        """Who confirms an address owns it: an account that claimed it, and never came in, makes room."""
        confirmed = super().confirm_email(request, email_address)
        if confirmed:
            others = User.objects.filter(email=email_address.email, last_login=None).exclude(pk=email_address.user_id)
            others.exclude(emailaddress__verified=True).delete()
        return confirmed
