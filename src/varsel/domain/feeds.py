"""The registers whose changes we can follow, by the names of operators' commands and of their rows (registries 7.2)."""

from enum import StrEnum


class Feed(StrEnum):
    KRR = "krr"
    BUSINESS_ADDRESSES = "business-addresses"
