-- What users register for themselves (registries 4.1-4.4), and who looked up whom (4.8, 7.7).

-- Users name a party by a UUID. An organisation whose register gives none has one that follows from its number.
CREATE INDEX organisation_party ON registry.organisation ((coalesce(party_uuid, md5('varsel:' || org_no)::uuid)));

CREATE INDEX user_org_contact_user ON registry.user_org_contact (user_id);
CREATE INDEX user_org_contact_email ON registry.user_org_contact (lower(email));
CREATE INDEX user_org_contact_phone ON registry.user_org_contact (phone);
CREATE INDEX org_address_address ON registry.org_address (lower(address));
CREATE INDEX self_identified_contact_user ON registry.self_identified_contact (user_id);
CREATE INDEX self_identified_contact_email ON registry.self_identified_contact (lower(email));

ALTER TABLE registry.self_identified_contact ADD COLUMN phone_changed_at timestamptz;

CREATE TABLE registry.profile_settings (
    user_id                int PRIMARY KEY,
    language               text,
    ignore_unit_profile_at timestamptz, -- when the user asked not to be reminded of confirming addresses
    changed_at             timestamptz NOT NULL
);

-- Addresses are trimmed and in lower case here and below. There is one live code for each.
CREATE TABLE registry.verification_code (
    user_id         int NOT NULL,
    address         text NOT NULL,
    kind            text NOT NULL CONSTRAINT verification_code_kind_known CHECK (kind IN ('email', 'sms')),
    hash            text NOT NULL,
    failed_attempts int NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    CONSTRAINT verification_code_key PRIMARY KEY (user_id, address, kind)
);
CREATE INDEX verification_code_expired ON registry.verification_code (expires_at);

CREATE TABLE registry.verified_address (
    user_id     int NOT NULL,
    address     text NOT NULL,
    kind        text NOT NULL CONSTRAINT verified_address_kind_known CHECK (kind IN ('email', 'sms')),
    verified_at timestamptz NOT NULL,
    CONSTRAINT verified_address_key PRIMARY KEY (user_id, address, kind)
);

-- One row for each look-up by support, and one more for each person in it. Rows are only ever added, and pruned by age.
CREATE TABLE registry.lookup_log (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL,
    actor     text NOT NULL,
    purpose   text NOT NULL,
    kind      text NOT NULL, -- which question was asked
    asked     int NOT NULL,
    found     int NOT NULL,
    revealed  boolean NOT NULL, -- whether addresses were shown unmasked
    reason    text,
    took      interval NOT NULL,
    subject   text -- pseudonym of one person; null in the row of the look-up as a whole
);
CREATE INDEX lookup_log_subject ON registry.lookup_log (subject, at) WHERE subject IS NOT NULL;
CREATE INDEX lookup_log_at ON registry.lookup_log (at);
