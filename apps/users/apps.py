from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class UsersConfig(AppConfig):
    name = "apps.users"
    verbose_name = _("Users")

    def ready(self) -> None:
        from allauth.account.signals import password_reset

        from apps.users import checks, services  # noqa: F401  # the checks register themselves

        password_reset.connect(services.confirm_by_reset)
