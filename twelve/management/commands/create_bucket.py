from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError, CommandParser

from twelve.services.storage import AWS


class Command(BaseCommand):
    help = "Makes the bucket of MEDIA_STORAGE_URL, and sets the CORS rule by which pages of the site send files to it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--origin", action="append", required=True, help="An origin of the pages: https://…")

    def handle(self, *args: Any, origin: list[str], **options: Any) -> None:
        storage: Any = default_storage
        if not hasattr(storage, "presign_post"):
            raise CommandError("MEDIA_STORAGE_URL is not an s3:// bucket: there is nothing to create.")
        name, where = storage.bucket_name, storage.endpoint_url
        if where.endswith(AWS):
            raise CommandError(
                "An administrator creates a bucket on AWS, not the key of a site:\n"
                f"  aws s3 mb s3://{name} --region {storage.region_name}\n"
                f"  aws s3api put-bucket-cors --bucket {name} with the rule in docs/backing-services.md"
            )
        rule = {"AllowedMethods": ["POST"], "AllowedOrigins": origin, "AllowedHeaders": ["*"], "MaxAgeSeconds": 3600}
        try:
            made = create_bucket(storage)
            with storage.errors("set the CORS rule of", name):
                storage.client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": [rule]})
        except OSError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{name} at {where}: {'created' if made else 'already exists'}.")
        self.stdout.write(f"POST is allowed from {', '.join(sorted(origin))}.")


def create_bucket(storage: Any) -> bool:
    """Create the bucket. Returns False if it exists."""
    try:
        with storage.errors("look for", storage.bucket_name):
            storage.client.head_bucket(Bucket=storage.bucket_name)
            return False
    except FileNotFoundError:
        with storage.errors("make the bucket", storage.bucket_name):
            storage.client.create_bucket(Bucket=storage.bucket_name)
            return True
