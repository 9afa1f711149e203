-- A v2 registration: one main order, its reminders, and the key that makes a repeat harmless. Not partitioned: keys
-- never expire (design 8).

CREATE TYPE order_family AS ENUM ('chain', 'instant', 'composed');

CREATE TABLE order_chain (
    id              uuid PRIMARY KEY,
    creator_id      int NOT NULL,
    idempotency_id  text NOT NULL,
    idempotency_key bytea NOT NULL, -- SHA-256 of the id, which may be of any length, as a key of an index may not
    family          order_family NOT NULL,
    request_hash    bytea NOT NULL, -- of the checked request: strict idempotency compares it
    created_at      timestamptz NOT NULL,
    dialog_id       text,
    transmission_id text,
    shipments       jsonb NOT NULL, -- [{id, reference}], the main order first, reminders in the order of the request
    CONSTRAINT order_chain_key UNIQUE (creator_id, idempotency_key, family)
);

ALTER TABLE orders ADD COLUMN chain_id uuid;
ALTER TABLE order_content ADD COLUMN attachments jsonb; -- [{filename, mimeType, url}]; the urls are secrets
ALTER TABLE notification ADD COLUMN attachment_bytes bigint;
