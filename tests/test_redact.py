from __future__ import annotations

import logging

import pytest

from tests.helpers.films import vcn
from vcn_ray.config import dump_config, load_config
from vcn_ray.errors import ConfigError, MediaError, S3Error, UsageError
from vcn_ray.io.retry import retried
from vcn_ray.io.s3 import S3Config, split_uri
from vcn_ray.redact import (
    HIDDEN,
    RedactingFormatter,
    clean,
    clean_lines,
    hide_value,
    one_line,
    redact,
)

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PRESIGNED = (
    "https://b.s3.amazonaws.com/a.mp4?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    f"&X-Amz-Credential=ASIAIOSFODNN7EXAMPLE%2F20260101&X-Amz-Security-Token={SECRET}"
    f"&X-Amz-Signature={SECRET}"
)


@pytest.mark.parametrize(
    "text",
    [
        PRESIGNED,
        f"https://b.s3.amazonaws.com/a?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature={SECRET}",
        f"cannot reach http://me:{SECRET}@host:9000/bucket",
        f"s3://AKIAIOSFODNN7EXAMPLE:{SECRET}@bucket/key",
        f"aws_secret_access_key = {SECRET}",
        f"AWS_SECRET_ACCESS_KEY={SECRET} AWS_SESSION_TOKEN='{SECRET}'",
        f'{{"SecretAccessKey": "{SECRET}", "SessionToken": "{SECRET}"}}',
        f"<AWSAccessKeyId>AKIAIOSFODNN7EXAMPLE</AWSAccessKeyId> x-amz-security-token: {SECRET}",
        f"Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/x, Signature={SECRET}",
        f"--set s3.secret_key={SECRET}",
    ],
)
def test_credentials_are_hidden(text: str) -> None:
    shown = one_line(OSError(text))
    assert HIDDEN in shown
    for part in (SECRET, SECRET.split("/")[1], "IOSFODNN7EXAMPLE"):
        assert part not in shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/season 1/token=5/signature=x/a@b?.mp4",
        "http://127.0.0.1:9000/bucket/a@b.mp4",
        "/films/a:b@c/film.mp4: no such file",
        "S3 refuses the AWS credentials (ExpiredToken): renew them",
        "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab",
    ],
)
def test_all_else_stays(text: str) -> None:
    assert redact(text) == text


def test_log_entries_are_redacted_with_their_tracebacks() -> None:
    try:
        raise OSError(PRESIGNED)
    except OSError as error:
        record = logging.LogRecord("a", 30, "f", 1, "of %s", (PRESIGNED,), None)
        record.exc_info = (type(error), error, error.__traceback__)
    shown = RedactingFormatter("%(message)s").format(record)
    assert "Traceback" in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"endpoint": "minio:9000"}, "must be like https://host:9000"),
        ({"endpoint": f"http://me:{SECRET}@host"}, "must hold no credentials"),
        ({"role_arn": "reader"}, "must be like arn:aws:iam"),
        ({"anonymous": "true", "profile": "studio"}, "takes no credentials"),
        ({"secret_key": SECRET}, "unknown setting 's3.secret_key'"),
    ],
)
def test_wrong_settings_are_reported_without_secrets(
    settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(None, {f"s3.{name}": value for name, value in settings.items()})
    assert SECRET not in str(caught.value)
    words = [word for n, v in settings.items() for word in ("--set", f"s3.{n}={v}")]
    ran = vcn("config", *words, "--verbose")
    assert ran.code == 2
    assert SECRET not in ran.err + ran.out


def test_a_rejected_endpoint_is_not_printed() -> None:
    with pytest.raises(ValueError, match="must hold no credentials") as caught:
        S3Config(endpoint=f"http://me:{SECRET}@host")
    assert SECRET not in str(caught.value)


def test_the_settings_are_a_section_like_others() -> None:
    config = load_config(None, {"s3.endpoint": "http://h:1", "s3.requester_pays": "true"})
    assert config.s3 == S3Config(endpoint="http://h:1", requester_pays=True)
    assert 'endpoint = "http://h:1"' in dump_config(config)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (f"s3://me:{SECRET}@bucket/key", "without credentials"),
        (f"s3://bucket/key?X-Amz-Signature={SECRET}", "without credentials"),
        ("s3:///key", "must be like s3://bucket/key"),
        ("s3://", "must be like"),
    ],
)
def test_addresses_hold_no_credentials(uri: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        split_uri(uri)
    assert SECRET not in str(caught.value)


def test_keys_are_taken_as_they_stand() -> None:
    assert split_uri("s3://b/a b/%20+#?ü.mp4") == ("b", "a b/%20+#?ü.mp4")


def test_only_what_may_pass_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcn_ray.io.retry.FIRST_WAIT_SECONDS", 0.001)
    calls: list[int] = []

    def fail(error: Exception) -> None:
        calls.append(1)
        raise error

    with pytest.raises(TimeoutError):
        retried(lambda: fail(TimeoutError()), lambda error: isinstance(error, OSError), tries=3)
    assert len(calls) == 3
    with pytest.raises(ValueError, match="no"):
        retried(lambda: fail(ValueError("no")), lambda error: isinstance(error, OSError))
    assert len(calls) == 4


VALUE = "correct-horse/battery+staple"


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "HTTPS_PROXY"]
)
def test_values_in_use_are_struck_out_wherever_they_stand(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    given = "http://me:cor.rect-horse@proxy:8080" if name == "HTTPS_PROXY" else VALUE
    value = "cor.rect-horse" if name == "HTTPS_PROXY" else VALUE
    text = f"the server said {value} of /films/{value}.mp4"
    assert value in clean(text)
    monkeypatch.setenv(name, given)
    assert clean(text) == f"the server said {HIDDEN} of /films/{HIDDEN}.mp4"


def test_a_value_given_to_be_hidden_is_hidden_in_an_address_too() -> None:
    value = "a/unique value+of-a-test="
    hide_value(value)
    assert clean(f"{value} a%2Funique%20value%2Bof-a-test%3D a%2Funique+value%2Bof-a-test%3D") == (
        f"{HIDDEN} {HIDDEN} {HIDDEN}"
    )
    hide_value("short")  # would strike out words
    hide_value(None)
    assert clean("a short text") == "a short text"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a?[2Jb"),  # clears the screen
        ("a\x9b2Jb", "a?2Jb"),  # the same in one character
        ("film\r\nvcn: all done", "film??vcn: all done"),  # forges a line
        ("\u202egpm.exe", "?gpm.exe"),  # turns the direction of writing
        ("a\udcffb", "a?b"),  # a byte of a name that is no UTF-8
        ("Amélie 映画 🎬", "Amélie 映画 🎬"),
    ],
)
def test_text_for_a_terminal_is_printable(text: str, shown: str) -> None:
    assert clean(text) == shown
    assert str(UsageError(text)) == shown
    assert clean_lines(f"one\n{text}").splitlines()[0] == "one"


def test_errors_are_one_clean_line() -> None:
    error = MediaError("unreadable", f"a\nb\x1b[31m: AWS_SECRET_ACCESS_KEY={SECRET}")
    assert str(error) == error.message == f"a?b?[31m: AWS_SECRET_ACCESS_KEY={HIDDEN}"
    assert str(S3Error("other", "x\ty")) == "x?y"
