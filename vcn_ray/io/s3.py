"""Settings, client and error messages of S3; it knows nothing of objects.

Each process finds its credentials as the AWS CLI does: environment, files, single sign-on, or the
role of the machine. Credentials are not settings: they never travel with a job or enter a record.
"""

from __future__ import annotations

import functools
import os
import threading
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
from botocore.parsers import ResponseParserError
from pydantic.dataclasses import dataclass
from urllib3.exceptions import HTTPError

from vcn_ray.bounds import STRICT
from vcn_ray.errors import ConfigError, S3Error, S3Kind, UsageError
from vcn_ray.redact import hide_value, one_line, redact

SCHEME = "s3://"
CLIENT_ATTEMPTS = 3  # by botocore, for a request; S3Objects repeats reads that break off later
SESSION_NAME = "vcn-ray"  # of an assumed role, as the owner's audit log shows it
STS_REGION = "us-east-1"  # where neither s3.region nor the AWS settings name a region
NOT_IMPLEMENTED = 501  # from servers that lack a part of S3: another attempt changes nothing

_MISSING = frozenset(["404", "NoSuchKey", "NotFound", "NoSuchVersion"])
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
_CHANGED = frozenset(["412", "PreconditionFailed"])
_ELSEWHERE = frozenset(["301", "PermanentRedirect", "AuthorizationHeaderMalformed"])
_BUSY = frozenset(
    [
        "BadDigest",
        "ConditionalRequestConflict",
        "InternalError",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    ]
)


# An endpoint may hold a password: no validation error may print it.
@dataclass(frozen=True, kw_only=True, config=STRICT)
class S3Config:
    """Access to S3, for inputs and outputs alike; results do not depend on it."""

    endpoint: str = ""  # http(s)://host:port; empty: AWS_ENDPOINT_URL if set, else AWS
    region: str = ""  # empty: from the AWS settings of each node
    profile: str = ""  # in the AWS files of every node
    role_arn: str = ""  # assumed with the credentials that each process finds, and renewed
    kms_key: str = ""  # id, ARN or alias of the key that encrypts all output (SSE-KMS)
    requester_pays: bool = False  # agree in each request to pay for it
    anonymous: bool = False  # do not sign requests: for public buckets

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
        """Parameters of every request: who pays for it."""
        return {"RequestPayer": "requester"} if self.requester_pays else {}

    @property
    def encryption(self) -> dict[str, str]:
        """Parameters of every write: the key that encrypts the object."""
        if not self.kms_key:
            return {}
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key}


class ShortAnswerError(Exception):
    """An answer that is not what was asked for, as from a faulty proxy: another may be right."""


class S3Address(NamedTuple):
    """Location of an object, or of a prefix."""

    bucket: str
    key: str


def split_uri(uri: str) -> S3Address:
    """Split `s3://bucket/key` into bucket and key; the key is not decoded.

    Raises:
        UsageError: The address names no bucket, or holds credentials.
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
    """Return this process's boto3 client of a config; threads may share it.

    Raises:
        S3Error: The profile does not exist.
    """
    with _CLIENT_LOCK:
        return _client(config, os.getpid())


_CLIENT_LOCK = threading.Lock()  # threads must not create sessions at the same time


@functools.lru_cache(maxsize=16)
def _client(config: S3Config, _process: int) -> Any:
    # A forked process must not use its parent's connections, so its id is part of the cache key.
    environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    try:
        session = boto3.Session(botocore_session=_session(config))
        client = session.client(
            "s3",
            endpoint_url=config.endpoint or None,
            region_name=config.region or None,
            config=Config(
                signature_version=UNSIGNED if config.anonymous else None,
                retries={"mode": "standard", "total_max_attempts": CLIENT_ATTEMPTS},
                response_checksum_validation="when_supported",
                connect_timeout=10,
                read_timeout=60,
                max_pool_connections=32,
                # Servers other than AWS rarely have a host name for each bucket.
                s3={"addressing_style": "path"} if config.endpoint or environment else None,
                user_agent_extra="vcn-ray",
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise explained(error, "") from error
    client.meta.events.register("before-sign.s3", functools.partial(_hide_credentials, session))
    return client


def _hide_credentials(session: Any, **_: Any) -> None:
    """Strike out the credentials that a request is signed with, which may have been renewed."""
    credentials = session.get_credentials()
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        hide_value(frozen.secret_key)
        hide_value(frozen.token)


def _session(config: S3Config) -> Any:
    session = botocore.session.Session(profile=config.profile or None)
    if config.role_arn:
        region = config.region or session.get_config_variable("region") or STS_REGION
        provider = _RoleProvider(session, config.role_arn, region)
        session = botocore.session.Session(profile=config.profile or None)
        session.register_component("credential_provider", CredentialResolver([provider]))
    return session


class _RoleProvider(CredentialProvider):  # type: ignore[misc]  # botocore has no types
    """Credentials of a role: requested when first needed, and again before they expire."""

    METHOD = "vcn-assume-role"

    def __init__(self, base: Any, role: str, region: str) -> None:
        super().__init__()
        self._base, self._role, self._region = base, role, region

    def load(self) -> Any:
        source = self._base.get_credentials()
        if source is None:
            raise NoCredentialsError()
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=functools.partial(self._base.create_client, region_name=self._region),
            source_credentials=source,
            role_arn=self._role,
            extra_args={"RoleSessionName": SESSION_NAME},
        )
        return DeferredRefreshableCredentials(
            method=self.METHOD, refresh_using=fetcher.fetch_credentials
        )


_NONSENSE = (ResponseParserError, HTTPError, ShortAnswerError, ValueError)
"""What boto3 raises of an answer that is none, such as half of a listing or a length of letters."""

_BROKEN = (
    HTTPClientError,
    ConnectionError,
    IncompleteReadError,
    FlexibleChecksumError,
    *_NONSENSE,
)
REQUEST_ERRORS = (BotoCoreError, ClientError, *_NONSENSE)
"""Everything that a request can raise."""


def is_transient(error: Exception) -> bool:
    """True for an error that another attempt may not meet."""
    if isinstance(error, ClientError):
        code, status = _code(error), _status(error)
        if status == NOT_IMPLEMENTED:
            return False
        return code in _BUSY or status >= 500 or status == 429
    return isinstance(error, _BROKEN)


def explained(error: Exception, uri: str) -> S3Error:
    """Turn an error of boto3 into an S3Error: one line that says what to do.

    Args:
        error: The error that boto3 raised.
        uri: The object or bucket of the request.
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
    if isinstance(error, FlexibleChecksumError):
        return "altered", "its bytes do not match the checksum that S3 keeps of it"
    if isinstance(error, _NONSENSE):
        return "unavailable", (
            f"the server or a proxy before it sent a wrong answer, {one_line(error)}: run the same "
            "command again"
        )
    if is_transient(error):
        return "unavailable", f"the connection broke, {one_line(error)}: run the same command again"
    return "other", one_line(error)


def _explain_code(error: ClientError, uri: str) -> tuple[S3Kind, str]:
    code = _code(error)
    bucket = uri.removeprefix(SCHEME).partition("/")[0]
    if code == "NoSuchBucket":
        return "no_bucket", no_bucket(bucket)
    if code in _MISSING:
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
    if not code:  # a web page, for instance, from a server that does not see an S3 request in it
        return "other", (
            f"the server answered {_status(error)} without an S3 error code: check s3.endpoint, "
            "and s3.anonymous, which not every server supports"
        )
    return "other", one_line(error)


def no_bucket(bucket: str) -> str:
    """Message for a bucket that does not exist."""
    return f"there is no bucket {bucket}: check its name, and s3.endpoint"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
