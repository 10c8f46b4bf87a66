"""`Email`: alerts by SMTP, over TLS unless the project says otherwise."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate

from mainspring.adapters.notify.channel import NotDelivered
from mainspring.adapters.notify.words import parts, title
from mainspring.domain.decision import Alert
from mainspring.settings.notify import EmailSettings

_LONGEST_REASON = 200


class Email:
    """`Channel` to a mail server; one message to all addresses."""

    def __init__(self, settings: EmailSettings, project: str) -> None:
        self._settings = settings
        self._project = project

    def send(self, alert: Alert, key: str) -> str:
        """Hand the message over; addresses that the server refuses while it takes others are said."""
        try:
            with contextlib.closing(self._connect()) as server:
                refused = server.send_message(self._message(alert, key))
                with contextlib.suppress(smtplib.SMTPException, OSError):
                    server.quit()  # Polite, and too late to change what was sent.
        except smtplib.SMTPRecipientsRefused as error:
            raise NotDelivered(f"the server takes none of {len(self._settings.to)} addresses") from error
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else ""
            raise NotDelivered(f"the server said {error.smtp_code} {said}"[:_LONGEST_REASON]) from error
        except TimeoutError as error:
            raise NotDelivered(f"no answer within {self._settings.timeout.total_seconds():g} s") from error
        except (smtplib.SMTPException, OSError) as error:
            raise NotDelivered(f"{type(error).__name__}: {error}"[:_LONGEST_REASON]) from error
        return f"{len(refused)} of {len(self._settings.to)} addresses were refused" if refused else ""

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        host, port, seconds = settings.host, settings.port_used, settings.timeout.total_seconds()
        if settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=seconds, context=ssl.create_default_context())
        else:
            server = smtplib.SMTP(host, port, timeout=seconds)
        try:
            if settings.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if settings.user is not None and settings.password is not None:
                server.login(settings.user, settings.password)
        except BaseException:
            server.close()
            raise
        return server

    def _message(self, alert: Alert, key: str) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = title(alert, self._project)
        message["From"] = self._settings.sender
        message["To"] = ", ".join(self._settings.to)
        message["Date"] = formatdate(alert.at.timestamp())
        # The same at each try, so that a mailbox that got it twice may show it once.
        message["Message-ID"] = f"<{key}@mainspring.invalid>"
        message["Auto-Submitted"] = "auto-generated"
        lines = [title(alert, self._project), "", *(f"{name}: {text}" for name, text in parts(alert))]
        message.set_content("\n".join(lines) + "\n")
        return message
