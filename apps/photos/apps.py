from django.apps import AppConfig
from django.db.models.signals import post_delete
from django.utils.translation import gettext_lazy as _


class PhotosConfig(AppConfig):
    name = "apps.photos"
    verbose_name = _("Photos")

    def ready(self) -> None:
        from apps.photos import services

        post_delete.connect(services.delete_media_of, sender=self.get_model("Photo"))
