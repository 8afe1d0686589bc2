"""allauth's account adapter: the client's address behind proxies, and the ownership of email addresses."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import transaction
from django.http import HttpRequest

from apps.users.models import User


class AccountAdapter(DefaultAccountAdapter):
    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address that sign-in limits count by; without a proxy's header, that of the connection."""
        try:
            return super().get_client_ip(request)
        except (ImproperlyConfigured, PermissionDenied):  # X-Forwarded-For is too short, or not an address
            return request.META["REMOTE_ADDR"]

    def confirm_email(self, request: HttpRequest, email_address: Any) -> bool:
        """Confirm the address; the first confirmed one of an account deletes its unconfirmed ones."""
        if email_address.pk is None and request.user.pk != email_address.user_id:
            return False  # the account no longer has the address of this code
        with transaction.atomic():
            User.objects.select_for_update().get(pk=email_address.user_id)  # the clean-up waits for the outcome
            addresses = EmailAddress.objects.filter(user_id=email_address.user_id)
            first = not addresses.filter(verified=True).exists()
            confirmed = super().confirm_email(request, email_address)
            if confirmed and first:
                addresses.exclude(pk=email_address.pk).delete()
                email_address.set_as_primary()
        return confirmed
