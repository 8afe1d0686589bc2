import json
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError, CommandParser

FOR_AWS = """Amazon's buckets are made by who may make them, not with the key of a site:
  aws s3 mb s3://{bucket} --region {region}
  aws s3api put-bucket-cors --bucket {bucket} --cors-configuration '{cors}'"""


class Command(BaseCommand):
    help = "Makes the bucket of MEDIA_STORAGE_URL, and lets pages of this site put files into it (its CORS rule)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--origin", action="append", help="An origin of the pages; else those of ALLOWED_HOSTS.")
        parser.add_argument("--dry-run", action="store_true", help="Only show what would be done.")

    def handle(self, *args: Any, origin: list[str] | None, dry_run: bool, **options: Any) -> None:
        storage: Any = default_storage
        if not hasattr(storage, "presign_put"):
            raise CommandError("MEDIA_STORAGE_URL is no s3:// bucket, so there is none to make.")
        bucket, origins = storage.bucket_name, origin or own_origins()
        rule = {"AllowedMethods": ["PUT"], "AllowedOrigins": origins, "AllowedHeaders": ["*"], "MaxAgeSeconds": 3600}
        if ".amazonaws.com" in storage.endpoint_url:
            cors = json.dumps({"CORSRules": [rule]})
            self.stdout.write(FOR_AWS.format(bucket=bucket, region=storage.region_name, cors=cors))
            return
        if dry_run:
            self.stdout.write(f"Would make {bucket} at {storage.endpoint_url}, for PUT from {', '.join(origins)}.")
            return
        try:
            with storage.telling("make the bucket", bucket):
                made = create(storage.client, bucket)
            with storage.telling("set the CORS rule of", bucket):
                storage.client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
                (said,) = storage.client.get_bucket_cors(Bucket=bucket)["CORSRules"]
        except OSError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{bucket} at {storage.endpoint_url}: {'made' if made else 'was there'}.")
        self.stdout.write(f"PUT is allowed from {', '.join(sorted(said['AllowedOrigins']))}.")


def create(client: Any, bucket: str) -> bool:
    """Whether it was not there before."""
    if any(own["Name"] == bucket for own in client.list_buckets()["Buckets"]):
        return False
    client.create_bucket(Bucket=bucket)
    return True


def own_origins() -> list[str]:
    """The site's origins by its hosts; a local one has the port of `make run`."""
    scheme, port = ("https", "") if settings.SECURE_SSL_REDIRECT else ("http", ":8000" if settings.DEBUG else "")
    return [f"{scheme}://{'*' if host.startswith('.') else ''}{host}{port}" for host in settings.ALLOWED_HOSTS]
