"""What `create_bucket` asks of an S3 server: the bucket, its CORS rule, and that links do no more than was signed."""

import json
from typing import Any

from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from config.media import INCOMING

RULE = "uploads-of-the-site"
ALIEN = {"x-amz-copy-source": "{}/{}", "x-amz-acl": "public-read"}  # headers that nobody signed


def cors_rule(origins: list[str]) -> dict[str, Any]:
    allowed = {"AllowedMethods": ["PUT"], "AllowedOrigins": origins, "AllowedHeaders": ["*"], "MaxAgeSeconds": 3600}
    return {"ID": RULE} | allowed


def create(storage: Any) -> bool:
    """Whether it was not there before."""
    with storage.telling("make the bucket", storage.bucket_name):
        try:
            storage.client.head_bucket(Bucket=storage.bucket_name)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
        else:
            return False
        storage.client.create_bucket(Bucket=storage.bucket_name)
        return True


def allow(storage: Any, origins: list[str]) -> list[str]:
    """Set the rule, beside what rules there are; returns the origins that it then allows."""
    with storage.telling("set the CORS rule of", storage.bucket_name):
        others = [rule for rule in rules(storage) if rule.get("ID") != RULE]
        configuration = {"CORSRules": [*others, cors_rule(origins)]}
        storage.client.put_bucket_cors(Bucket=storage.bucket_name, CORSConfiguration=configuration)
        return sorted(origin for rule in rules(storage) if rule.get("ID") == RULE for origin in rule["AllowedOrigins"])


def rules(storage: Any) -> list[dict[str, Any]]:
    try:
        return storage.client.get_bucket_cors(Bucket=storage.bucket_name)["CORSRules"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchCORSConfiguration":
            raise
        return []


def forbid_copies(storage: Any) -> None:
    """By a policy, that a link of an upload is used to copy another object or to publish one."""
    where = f"arn:aws:s3:::{storage.bucket_name}/{storage.key(INCOMING)['Key']}/*"
    deny = {"Effect": "Deny", "Principal": "*", "Action": ["s3:PutObject"], "Resource": [where]}
    public = ["public-read", "public-read-write", "authenticated-read"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            deny | {"Sid": "no-copies", "Condition": {"StringLike": {"s3:x-amz-copy-source": "*"}}},
            deny | {"Sid": "nothing-public", "Condition": {"StringEquals": {"s3:x-amz-acl": public}}},
        ],
    }
    with storage.telling("set the policy of", storage.bucket_name):
        storage.client.put_bucket_policy(Bucket=storage.bucket_name, Policy=json.dumps(policy))


def obeyed_unsigned(storage: Any) -> list[str]:
    """Which headers the server obeys although a link does not sign them: with one of these, links read everything."""
    source, target = (storage.key(f"{INCOMING}/check/{name}") for name in ("source", "target"))
    obeyed = []
    with storage.telling("check links of"):
        storage.client.put_object(**source, Body=b"source")
        for name, value in ALIEN.items():
            url = storage.presign_put(f"{INCOMING}/check/target", "text/plain", 0, 60)
            headers = {"Content-Type": "text/plain", name: value.format(source["Bucket"], source["Key"])}
            request = AWSRequest("PUT", url, headers, b"").prepare()
            answer = URLLib3Session(verify=storage.verify, timeout=5).send(request)
            obeyed += [name] if answer.status_code < 300 else []
        for key in (source, target):
            storage.client.delete_object(**key)
    return obeyed
