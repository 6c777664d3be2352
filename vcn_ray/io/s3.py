"""How S3 is reached: its settings, its client, and its errors in words; it knows no object.

Credentials are found the usual AWS way (environment, files, single sign-on, the machine's role) and
are no setting here, so they never travel with a job and are in no record.
"""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from vcn_ray.errors import ConfigError, S3Error, S3Kind, UsageError
from vcn_ray.redact import one_line, redact

SCHEME = "s3://"
CLIENT_TRIES = 3  # by botocore; storage and files try again on top, also what breaks off later
SESSION_NAME = "vcn-ray"  # of an assumed role, as the owner's audit log shows it
STS_REGION = "us-east-1"  # where nothing else says one
NOT_IMPLEMENTED = 501  # by servers that lack a part of S3: the next try changes nothing

_GONE = frozenset(["404", "NoSuchKey", "NotFound", "NoSuchVersion"])
_DENIED = frozenset(["403", "401", "AccessDenied", "Forbidden", "AllAccessDisabled"])
_REFUSED = frozenset(
    [
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    ]
)
_CHANGED = frozenset(["412", "PreconditionFailed", "ConditionalRequestConflict"])
_ELSEWHERE = frozenset(["301", "PermanentRedirect", "AuthorizationHeaderMalformed"])
_BUSY = frozenset(
    [
        "BadDigest",
        "InternalError",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    ]
)


@dataclass(frozen=True, kw_only=True)
class S3Config:
    """How S3 is reached, for inputs and outputs alike; results do not depend on it."""

    endpoint: str = ""  # http(s)://host:port; empty: AWS, or what AWS_ENDPOINT_URL says
    region: str = ""  # empty: as the AWS settings of the machine say
    profile: str = ""  # of the AWS files; each node needs it
    role_arn: str = ""  # assumed with the credentials found, and renewed while a run lasts
    kms_key: str = ""  # id, ARN or alias of the key that encrypts what is written (SSE-KMS)
    requester_pays: bool = False  # say that we pay for requests and traffic
    anonymous: bool = False  # sign nothing: for public buckets

    def __post_init__(self) -> None:
        if set(self.endpoint) & set("@?#"):
            raise ConfigError("s3.endpoint must hold no credentials: set them as for the AWS CLI")
        address = urlsplit(self.endpoint)
        if self.endpoint and (address.scheme not in ("http", "https") or not address.hostname):
            raise ConfigError("s3.endpoint must be like https://host:9000")
        if self.role_arn and not self.role_arn.startswith("arn:"):
            raise ConfigError("s3.role_arn must be like arn:aws:iam::123456789012:role/name")
        if self.anonymous and (self.profile or self.role_arn or self.requester_pays):
            raise ConfigError(
                "s3.anonymous takes no credentials: leave out profile, role_arn and requester_pays"
            )

    @property
    def payer(self) -> dict[str, str]:
        """What a request says of who pays."""
        return {"RequestPayer": "requester"} if self.requester_pays else {}

    @property
    def encryption(self) -> dict[str, str]:
        """What a request says of the key of an object that it writes."""
        if not self.kms_key:
            return {}
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key}


class S3Address(NamedTuple):
    """Where an object or a folder of objects is."""

    bucket: str
    key: str


def split_uri(uri: str) -> S3Address:
    """Bucket and key of `s3://bucket/key`; the key is taken as it stands, nothing is decoded.

    Raises:
        UsageError: It names no bucket, or holds credentials.
    """
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    if redact(uri) != uri or "@" in bucket or ":" in bucket:
        raise UsageError(
            f"{redact(uri)}: write s3://bucket/key without credentials or a signature; "
            "they are found as by the AWS CLI"
        )
    if not uri.startswith(SCHEME) or not bucket or set(bucket) & set("?#&%\\"):
        raise UsageError(f"{uri}: must be like s3://bucket/key")
    return S3Address(bucket, key)


def s3_client(config: S3Config) -> Any:
    """The boto3 client of a config; one for each process, safe to share between threads.

    Raises:
        S3Error: The profile is not there.
    """
    with _MAKING:
        return _client(config, os.getpid())


_MAKING = threading.Lock()  # two threads must not both make one: sessions are not safe to share


@functools.lru_cache(maxsize=16)
def _client(config: S3Config, _process: int) -> Any:
    # A process that was forked must not use its parent's connections, so it is part of the name.
    own = config.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3", "")
    own = own or os.environ.get("AWS_ENDPOINT_URL", "")
    try:
        session = boto3.Session(botocore_session=_session(config))
        return session.client(
            "s3",
            endpoint_url=config.endpoint or None,
            region_name=config.region or None,
            config=Config(
                signature_version=UNSIGNED if config.anonymous else None,
                retries={"mode": "standard", "total_max_attempts": CLIENT_TRIES},
                connect_timeout=10,
                read_timeout=60,
                max_pool_connections=32,
                # Servers of one's own seldom have a host name for every bucket.
                s3={"addressing_style": "path"} if own else None,
                user_agent_extra="vcn-ray",
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise explained(error, "") from error


def _session(config: S3Config) -> Any:
    session = botocore.session.Session(profile=config.profile or None)
    if config.role_arn:
        region = config.region or session.get_config_variable("region") or STS_REGION
        provider = _RoleProvider(session, config.role_arn, region)
        session = botocore.session.Session(profile=config.profile or None)
        session.register_component("credential_provider", CredentialResolver([provider]))
    return session


class _RoleProvider(CredentialProvider):  # type: ignore[misc]  # botocore has no types
    """Credentials of a role, asked for when first needed and again before they run out."""

    METHOD = "vcn-assume-role"

    def load(self) -> Any:
        own = self._base.get_credentials()
        if own is None:
            raise NoCredentialsError()
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=functools.partial(self._base.create_client, region_name=self._region),
            source_credentials=own,
            role_arn=self._role,
            extra_args={"RoleSessionName": SESSION_NAME},
        )
        return DeferredRefreshableCredentials(
            method=self.METHOD, refresh_using=fetcher.fetch_credentials
        )

    def __init__(self, base: Any, role: str, region: str) -> None:
        super().__init__()
        self._base, self._role, self._region = base, role, region


def is_transient(error: Exception) -> bool:
    """True of an error of S3 that may be over by the next try."""
    if isinstance(error, ClientError):
        code, status = _code(error), _status(error)
        if status == NOT_IMPLEMENTED:
            return False
        return code in _BUSY or status >= 500 or status == 429
    broken = (HTTPClientError, ConnectionError, IncompleteReadError, FlexibleChecksumError)
    return isinstance(error, broken)


def explained(error: Exception, uri: str) -> S3Error:
    """An error of boto3 as one line that says what to do.

    Args:
        error: What boto3 raised.
        uri: What was asked for.
    """
    kind, message = _explain(error, uri)
    return S3Error(kind, redact(message))


def _explain(error: Exception, uri: str) -> tuple[S3Kind, str]:
    if isinstance(error, ClientError):
        return _explain_code(error, uri)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "denied", (
            "no AWS credentials were found: set them as for the AWS CLI, or s3.profile, "
            "or s3.anonymous=true for a public bucket"
        )
    if isinstance(error, ProfileNotFound):
        return "denied", f"{one_line(error)}: s3.profile must be in the AWS files of every node"
    if isinstance(error, SSOError | TokenRetrievalError):
        return "denied", f"{one_line(error)}: sign in again with aws sso login"
    if isinstance(error, EndpointConnectionError):
        return "unavailable", f"{one_line(error)}: check s3.endpoint, s3.region and the network"
    if is_transient(error):
        return "unavailable", f"S3 broke off, {one_line(error)}: run the same command again"
    return "other", one_line(error)


def _explain_code(error: ClientError, uri: str) -> tuple[S3Kind, str]:
    code = _code(error)
    bucket = uri.removeprefix(SCHEME).partition("/")[0]
    if code == "NoSuchBucket":
        return "no_bucket", no_bucket(bucket)
    if code in _GONE:
        return "missing", "there is no such object"
    if code in _CHANGED:
        return "changed", "it was replaced while it was read: run the same command again"
    if code in _REFUSED:
        return "denied", f"S3 refuses the AWS credentials ({code}): renew them, or check s3.profile"
    if code in _DENIED or code.startswith("KMS."):
        operation = getattr(error, "operation_name", "the request")
        return "denied", (
            f"access denied to {operation} in bucket {bucket}: give the AWS identity in use that "
            "right, or set s3.profile, s3.role_arn or s3.requester_pays"
        )
    if code in _ELSEWHERE:
        return "other", f"bucket {bucket} is in another region: set s3.region"
    if is_transient(error):
        return "unavailable", f"S3 is too busy or broken ({code}): run the same command again"
    if not code:  # a page for people, say, by something that is no S3 or takes us for no S3 client
        return "other", (
            f"the server answered {_status(error)}, and not in the words of S3: check s3.endpoint, "
            "and s3.anonymous, which not every server knows"
        )
    return "other", one_line(error)


def no_bucket(bucket: str) -> str:
    """What to say of a bucket that is not there."""
    return f"there is no bucket {bucket}: check its name, and s3.endpoint"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
