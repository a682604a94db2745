"""Prints, as JSON, what the mails in the files named as arguments say, as Python's own readers see it."""

import email
import email.header
import email.policy
import email.utils
import json
import sys

import icalendar


def entry(part):
    calendar = icalendar.Calendar.from_ical(part.get_content())
    (event,) = calendar.walk("VEVENT")
    attendees = event["ATTENDEE"]
    return {
        "type_method": part.get_param("method"),
        "method": str(calendar["METHOD"]),
        "version": str(calendar["VERSION"]),
        "uid": str(event["UID"]),
        "sequence": int(event["SEQUENCE"]),
        "stamp": event["DTSTAMP"].dt.isoformat(),
        "start": event["DTSTART"].dt.isoformat(),
        "end": event["DTEND"].dt.isoformat(),
        "summary": str(event["SUMMARY"]),
        "description": str(event.get("DESCRIPTION", "")),
        "organizer": str(event["ORGANIZER"]),
        "organizer_name": event["ORGANIZER"].params["CN"],
        "attendee": str(attendees),
        "status": str(event.get("STATUS", "")),
        "class": str(event.get("CLASS", "")),
        "url": str(event["URL"]),
        "errors": [str(error) for error in event.errors + calendar.errors],
        "names": sorted(event.keys()),
        "raw": part.get_content(),
    }


def name(raw, field):
    """The name before an address. Python 3.11's newer reader leaves a space between two encoded words of a name
    (against RFC 2047 section 6.2), its older one does not."""
    value = email.message_from_bytes(raw, policy=email.policy.compat32)[field]
    shown = value.rpartition("<")[0].strip()
    shown = shown.replace("\r\n", "").replace("\n", "")
    # A quoted string stands for what is in it (RFC 5322 section 3.2.4).
    if shown.startswith('"') and shown.endswith('"'):
        return email.utils.unquote(shown)
    return str(email.header.make_header(email.header.decode_header(shown)))


def read(path):
    with open(path, "rb") as file:
        raw = file.read()
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    (sender,) = mail["From"].addresses
    (to,) = mail["To"].addresses
    parts = [part for part in mail.walk() if not part.is_multipart()]
    calendars = [part for part in parts if part.get_content_type() == "text/calendar"]
    defects = [str(d) for part in mail.walk() for d in part.defects]
    defects += [str(d) for value in mail.values() for d in value.defects]
    return {
        "subject": str(mail["Subject"]),
        "from": [name(raw, "From"), sender.addr_spec],
        "to": [name(raw, "To"), to.addr_spec],
        "date": mail["Date"].datetime.isoformat(),
        "message_id": str(mail["Message-ID"]).strip(),
        "auto_submitted": str(mail["Auto-Submitted"]),
        "language": str(mail["Content-Language"]),
        "type": mail.get_content_type(),
        "parts": [part.get_content_type() for part in parts],
        "charset": parts[0].get_content_charset(),
        "text": parts[0].get_content(),
        "names": sorted(mail.keys()),
        "defects": defects,
        "longest_line": max(len(line) for line in raw.split(b"\r\n")),
        "is_ascii": raw.isascii() and b"\0" not in raw,
        "calendar": entry(calendars[0]) if calendars else None,
    }


json.dump([read(path) for path in sys.argv[1:]], sys.stdout)
