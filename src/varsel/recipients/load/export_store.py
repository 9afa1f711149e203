"""The registers' local copies as CSV, with the columns that `varsel import` reads (registries 7.5)."""

from collections.abc import AsyncIterator
from typing import Final, LiteralString

from varsel.db import ReadConn, copy_out
from varsel.recipients.load.rows import Kind

# Deleted organisations and addresses say something: nobody is reached through them, or through a main unit instead.
# Of a deleted person nothing is known, as of one who never was.
_ROWS: Final[dict[Kind, LiteralString]] = {
    Kind.ORGANISATIONS: """
        SELECT org_no, name, parent_org_no, party_id, party_uuid, unit_type, deleted::text
          FROM registry.organisation ORDER BY org_no""",
    Kind.ORG_ADDRESSES: """
        SELECT registry_id, org_no, kind, address, label, updated_at AS updated, accepted::text, deleted::text
          FROM registry.org_address ORDER BY id""",
    Kind.PERSONS: """
        SELECT subject_key AS id, reserved::text, email, email_updated_at AS email_updated,
               email_verified_at AS email_verified, mobile, mobile_updated_at AS mobile_updated,
               mobile_verified_at AS mobile_verified, language, first_name, middle_name, last_name
          FROM registry.person WHERE NOT deleted ORDER BY subject_key""",
    Kind.USERS: """
        SELECT user_id, user_uuid, subject_key AS person_id, username, kind
          FROM registry.party_user ORDER BY user_id""",
    Kind.USER_ADDRESSES: """
        SELECT user_id, org_no, email, phone, array_to_string(resources, ' ') AS resources, last_changed
          FROM registry.user_org_contact ORDER BY org_no, user_id""",
    Kind.RULES: "SELECT resource_id, action, role FROM registry.resource_rule ORDER BY 1, 2, 3",
    Kind.ROLES: """
        SELECT user_id, org_no, role, nullif(valid_from, '-infinity') AS valid_from,
               nullif(valid_to, 'infinity') AS valid_to
          FROM registry.role_assignment ORDER BY org_no, user_id, role, role_assignment.valid_from""",
    Kind.DELEGATIONS: """
        SELECT user_id, org_no, resource_id, action, nullif(valid_from, '-infinity') AS valid_from,
               nullif(valid_to, 'infinity') AS valid_to
          FROM registry.delegation ORDER BY org_no, user_id, resource_id, action, delegation.valid_from""",
    Kind.EXTERNAL_IDENTITIES: """
        SELECT username, user_id, email, phone FROM registry.self_identified_contact ORDER BY username""",
}


def export(conn: ReadConn, kind: Kind) -> AsyncIterator[bytes]:
    """A header line, and a line for each row whoever wrote it."""
    return copy_out(conn, f"COPY ({_ROWS[kind]}) TO STDOUT (FORMAT csv, HEADER)")
