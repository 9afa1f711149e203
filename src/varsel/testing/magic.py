"""Identities, addresses and numbers that decide what happens in a sandbox (docs/sandbox.md). Nobody has them."""

from typing import Final

# People of the sandbox's register, each with one situation

PERSON: Final = "14838510036"
"""Has an email address and a mobile number."""
PERSON_EMAIL: Final = "rolig.fjord@example.com"
PERSON_MOBILE: Final = "+4799999501"
RESERVED_PERSON: Final = "01916012086"
"""Has opted out of electronic communication."""
PERSON_WITH_EMAIL_ONLY: Final = "22957713118"
PERSON_WITH_MOBILE_ONLY: Final = "30899914186"
PERSON_WITHOUT_ADDRESS: Final = "05854515049"
PERSON_WITH_STALE_EMAIL: Final = "11820155078"
"""The email address has not been confirmed for long; the mobile number has."""
PERSON_WITH_STALE_ADDRESSES: Final = "24896817031"
DELETED_PERSON: Final = "09857419070"
UNKNOWN_PERSON: Final = "31818020069"
"""No register knows them."""

ORGANISATION: Final = "310001007"
"""Has two email addresses and two mobile numbers."""
ORGANISATION_WITH_USERS_ONLY: Final = "310001058"
"""Only its users have addresses."""
UNKNOWN_ORGANISATION: Final = "310001082"

RESOURCE: Final = "urn:altinn:resource:demo-resource"
"""Users of organisations may act on it."""

# Any other address arrives

ARRIVING_EMAIL: Final = "dsn-ok@example.test"
BOUNCING_EMAIL: Final = "dsn-fail@example.test"
"""The mail server takes it, and reports that it bounced."""
REFUSED_EMAIL: Final = "bounce@example.test"
FILTERED_EMAIL: Final = "spam@example.test"
SILENT_EMAIL: Final = "quiet@example.test"
"""Nobody confirms that it arrived."""
LATE_BOUNCE_EMAIL: Final = "dsn-late-2@example.test"
"""Arrives, and after two seconds it did not: the outcome is corrected."""

# Any other number arrives

ARRIVING_MOBILE: Final = "+4799999500"
UNDELIVERED_MOBILE: Final = "+4799999103"
EXPIRED_MOBILE: Final = "+4799999101"
REJECTED_MOBILE: Final = "+4799999104"
BARRED_MOBILE: Final = "+4799999108"
INVALID_MOBILE: Final = "+4799999201"
"""The gateway says that nobody has it."""
SILENT_MOBILE: Final = "+4799999403"
"""The gateway never reports."""
