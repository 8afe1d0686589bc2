import json
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.buckets import is_aws, is_s3

FOR_AWS = """Amazon's buckets are made by who may make them, not with the key of a site:
  aws s3 mb s3://{bucket} --region {region}
  aws s3api put-bucket-cors --bucket {bucket} --cors-configuration '{cors}'"""
SAFE = """A link does no more than was signed. If MEDIA_DIRECT_UPLOAD is not set, set it to on:
browsers then put uploads into the bucket themselves."""
UNSAFE = """This server obeys headers that a link does not sign ({}): with one,
a person could read the whole bucket. Leave MEDIA_DIRECT_UPLOAD unset or off; uploads then go through the site."""


class Command(BaseCommand):
    help = "Makes the bucket of MEDIA_STORAGE_URL, and lets pages of this site put files into it, if that is safe."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--origin", action="append", help="An origin of the pages; else those of ALLOWED_HOSTS.")
        parser.add_argument("--dry-run", action="store_true", help="Only show what would be done.")

    def handle(self, *args: Any, origin: list[str] | None, dry_run: bool, **options: Any) -> None:
        storage: Any = default_storage
        if not is_s3(settings.STORAGES["default"]):
            raise CommandError("MEDIA_STORAGE_URL is no s3:// bucket, so there is none to make.")
        from apps.ops import bucket

        if not (origins := origin or own_origins()):
            raise CommandError("ALLOWED_HOSTS is empty: name the origins of the pages by --origin https://…")
        name, where = storage.bucket_name, storage.endpoint_url
        if is_aws(settings.STORAGES["default"]):
            cors = json.dumps({"CORSRules": [bucket.cors_rule(origins)]})
            self.stdout.write(FOR_AWS.format(bucket=name, region=storage.region_name, cors=cors))
            return
        if dry_run:
            self.stdout.write(f"Would make {name} at {where}, for PUT from {', '.join(origins)}.")
            return
        try:
            self.stdout.write(f"{name} at {where}: {'made' if bucket.create(storage) else 'was there'}.")
            self.stdout.write(f"PUT is allowed from {', '.join(bucket.allow(storage, origins))}.")
            if obeyed := bucket.obeyed_unsigned(storage):
                bucket.forbid_copies(storage)
                obeyed = bucket.obeyed_unsigned(storage)
        except OSError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(UNSAFE.format(", ".join(obeyed)) if obeyed else SAFE)


def own_origins() -> list[str]:
    """The site's origins by its hosts; a local one has the port of `make run`."""
    scheme, port = ("https", "") if settings.SECURE_SSL_REDIRECT else ("http", ":8000" if settings.DEBUG else "")
    return [f"{scheme}://{'*' if host.startswith('.') else ''}{host}{port}" for host in settings.ALLOWED_HOSTS]
