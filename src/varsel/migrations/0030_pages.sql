-- Who is signed in to the pages, what they may look at for a while, and who looked at whom. Times are machine time.

CREATE TABLE page_session (
    id         bytea PRIMARY KEY, -- hash of the cookie
    name       text NOT NULL,
    subject    text NOT NULL,     -- of the identity provider; 'local' for a ticket
    roles      text[] NOT NULL,
    creator    text,              -- whom a creator-admin belongs to
    case_no    text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT statement_timestamp(),
    expires_at timestamptz NOT NULL
);

-- A link of `varsel sign-in`: good once, for a few minutes.
CREATE TABLE page_ticket (
    id         bytea PRIMARY KEY,
    name       text NOT NULL,
    roles      text[] NOT NULL,
    creator    text,
    expires_at timestamptz NOT NULL
);

-- What stands in a page's address instead of an identity number or an address; of one session, for half an hour.
CREATE TABLE page_handle (
    id           text PRIMARY KEY,
    session_id   bytea NOT NULL,
    subject_kind text NOT NULL CONSTRAINT page_handle_kind_known CHECK (subject_kind IN ('person', 'organisation', 'address')),
    subject_key  text NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX page_handle_session ON page_handle (session_id);

-- Acts of people: access to data, and what was changed by hand.
CREATE TABLE audit (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT statement_timestamp(),
    actor        text NOT NULL,
    subject      text NOT NULL,    -- the actor's, at the identity provider
    action       text NOT NULL,
    creator      text,
    order_id     uuid,
    about_kind   text,
    about_key    text,
    case_no      text NOT NULL DEFAULT '',
    detail       text NOT NULL DEFAULT ''
);
CREATE INDEX audit_about ON audit (about_kind, about_key, id DESC) WHERE about_key IS NOT NULL;
CREATE INDEX audit_order ON audit (order_id, id DESC) WHERE order_id IS NOT NULL;
