-- Local copies of the contact registers (registries 7.2), and a small role model for authorization (4.7).
-- `source` says who wrote a row; a file load changes rows of source 'file' only.

CREATE SCHEMA registry;

CREATE TABLE registry.person (
    subject_key        text COLLATE "C" PRIMARY KEY,
    reserved           boolean NOT NULL,
    email              text,
    email_updated_at   timestamptz,
    email_verified_at  timestamptz,
    mobile             text,
    mobile_updated_at  timestamptz,
    mobile_verified_at timestamptz,
    language           text,
    first_name         text,
    middle_name        text,
    last_name          text,
    deleted            boolean NOT NULL DEFAULT false,
    source             text NOT NULL,
    changed_at         timestamptz NOT NULL,
    email_fresh_at     timestamptz GENERATED ALWAYS AS (greatest(email_updated_at, email_verified_at)) STORED,
    mobile_fresh_at    timestamptz GENERATED ALWAYS AS (greatest(mobile_updated_at, mobile_verified_at)) STORED
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02);

CREATE TABLE registry.organisation (
    org_no        text COLLATE "C" PRIMARY KEY,
    name          text,
    parent_org_no text COLLATE "C",
    party_id      int CONSTRAINT organisation_party_id_key UNIQUE,
    party_uuid    uuid CONSTRAINT organisation_party_uuid_key UNIQUE,
    unit_type     text,
    deleted       boolean NOT NULL DEFAULT false,
    source        text NOT NULL,
    changed_at    timestamptz NOT NULL
);

-- Official addresses. An address without an id of its own register gets one made of what it says.
CREATE TABLE registry.org_address (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    registry_id text COLLATE "C" NOT NULL CONSTRAINT org_address_registry_id_key UNIQUE,
    org_no      text COLLATE "C" NOT NULL,
    kind        text NOT NULL CONSTRAINT org_address_kind_known CHECK (kind IN ('email', 'sms')),
    address     text NOT NULL,
    label       text,
    accepted    boolean NOT NULL DEFAULT true,
    deleted     boolean NOT NULL DEFAULT false,
    updated_at  timestamptz,
    source      text NOT NULL,
    changed_at  timestamptz NOT NULL
);
CREATE INDEX org_address_org ON registry.org_address (org_no, id) INCLUDE (kind, address, accepted, deleted);

CREATE TABLE registry.party_user (
    user_id     int PRIMARY KEY,
    user_uuid   uuid CONSTRAINT party_user_uuid_key UNIQUE,
    subject_key text COLLATE "C" CONSTRAINT party_user_subject_key UNIQUE,
    username    text,
    kind        text NOT NULL DEFAULT 'person' CONSTRAINT party_user_kind_known
        CHECK (kind IN ('person', 'self-identified')),
    source      text NOT NULL,
    changed_at  timestamptz NOT NULL
);
CREATE UNIQUE INDEX party_user_username ON registry.party_user (lower(username));

-- An empty resource list means: for every resource.
CREATE TABLE registry.user_org_contact (
    org_no       text COLLATE "C" NOT NULL,
    user_id      int NOT NULL,
    email        text,
    phone        text,
    resources    text[] NOT NULL DEFAULT '{}',
    last_changed timestamptz,
    source       text NOT NULL,
    changed_at   timestamptz NOT NULL,
    CONSTRAINT user_org_contact_key PRIMARY KEY (org_no, user_id)
);

-- People without an identity number. User names are in lower case; who logs in by email is `epost:` and the address.
CREATE TABLE registry.self_identified_contact (
    username   text COLLATE "C" PRIMARY KEY,
    user_id    int,
    email      text,
    phone      text,
    source     text NOT NULL,
    changed_at timestamptz NOT NULL
);

-- Validity is half-open: valid_from <= t < valid_to.
CREATE TABLE registry.role_assignment (
    org_no     text COLLATE "C" NOT NULL,
    user_id    int NOT NULL,
    role       text NOT NULL,
    valid_from timestamptz NOT NULL DEFAULT '-infinity',
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    source     text NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT role_assignment_key PRIMARY KEY (org_no, user_id, role, valid_from)
);

-- The role grants the action on the resource; '*' stands for every resource or action.
CREATE TABLE registry.resource_rule (
    resource_id text NOT NULL,
    action      text NOT NULL,
    role        text NOT NULL,
    source      text NOT NULL,
    changed_at  timestamptz NOT NULL,
    CONSTRAINT resource_rule_key PRIMARY KEY (resource_id, action, role)
);

CREATE TABLE registry.delegation (
    org_no      text COLLATE "C" NOT NULL,
    user_id     int NOT NULL,
    resource_id text NOT NULL,
    action      text NOT NULL,
    valid_from  timestamptz NOT NULL DEFAULT '-infinity',
    valid_to    timestamptz NOT NULL DEFAULT 'infinity',
    source      text NOT NULL,
    changed_at  timestamptz NOT NULL,
    CONSTRAINT delegation_key PRIMARY KEY (org_no, user_id, resource_id, action, valid_from)
);

CREATE TABLE registry.import_job (
    id         uuid PRIMARY KEY,
    kind       text NOT NULL,
    file_name  text NOT NULL,
    checksum   text NOT NULL, -- of the bytes and the options
    state      text NOT NULL CONSTRAINT import_job_state_known CHECK (state IN ('done', 'refused')),
    rows       bigint NOT NULL,
    bad_rows   bigint NOT NULL,
    inserted   bigint NOT NULL DEFAULT 0,
    updated    bigint NOT NULL DEFAULT 0,
    unchanged  bigint NOT NULL DEFAULT 0,
    removed    bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL
);
