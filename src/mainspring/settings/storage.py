"""`s3:` of `mainspring.yaml`, and of whatever lies on an object store: where it answers, and as whom it is asked."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from mainspring.settings.part import Duration, Part

S3_SCHEME = "s3://"


class S3Settings(Part):
    """An S3 that is asked. What is left out is found as the AWS SDK finds it: environment, profile, instance role."""

    endpoint: str | None = None
    """URL of an S3 other than Amazon's, such as http://127.0.0.1:8333. None: Amazon's."""
    region: str | None = None
    """The bucket's region. None: the environment's, or us-east-1."""
    access_key: str | None = None
    """Access key id, as `${AWS_ACCESS_KEY_ID}`. None: the SDK's usual chain."""
    secret: str | None = Field(default=None, repr=False)
    """Secret access key, as `${AWS_SECRET_ACCESS_KEY}`. In plain text it is refused."""
    token: str | None = Field(default=None, repr=False)
    """Session token of temporary keys, as `${AWS_SESSION_TOKEN}`."""
    timeout: Duration = timedelta(seconds=20)
    """The longest that a connection waits for the next byte before it is given up and tried again."""

    @model_validator(mode="after")
    def _both(self) -> S3Settings:
        if (self.access_key is None) != (self.secret is None):
            raise ValueError("`access_key` and `secret` belong together; with neither, the SDK's usual chain is asked")
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError("`endpoint` is a URL, such as http://127.0.0.1:8333")
        return self
