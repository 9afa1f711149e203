-- An order as it was accepted. Partitioned by the month of its UUIDv7 (proven 1); partitions.py makes the leaves.

CREATE TYPE order_kind AS ENUM ('Notification', 'Reminder', 'Instant', 'Composed');
CREATE TYPE order_channel AS ENUM ('Email', 'Sms', 'EmailPreferred', 'SmsPreferred', 'EmailAndSms');
CREATE TYPE order_state AS ENUM
    ('Registered', 'Processing', 'Processed', 'Completed', 'SendConditionNotMet', 'Cancelled');

CREATE TABLE orders (
    id                  uuid PRIMARY KEY,
    creator_id          int NOT NULL,
    kind                order_kind NOT NULL,
    channel             order_channel NOT NULL,
    state               order_state NOT NULL DEFAULT 'Registered',
    lane                smallint NOT NULL,
    recipients          int NOT NULL,
    pending             int NOT NULL DEFAULT 0 CONSTRAINT orders_pending_counts CHECK (pending >= 0),
    senders_reference   text,
    requested_send_time timestamptz NOT NULL,
    created_at          timestamptz NOT NULL,
    state_at            timestamptz NOT NULL,  -- when the state last changed; the claim does not count
    wake_at             timestamptz,           -- waits until then, outside the claim's index
    worker_id           int,                   -- who is processing it
    attempts            smallint NOT NULL DEFAULT 0,
    expires_at          timestamptz            -- when the first of its pending notifications expires
) PARTITION BY RANGE (id);

CREATE INDEX orders_claim ON orders (lane, creator_id, id) WHERE state = 'Registered' AND wake_at IS NULL;
CREATE INDEX orders_wake ON orders (wake_at) WHERE state = 'Registered' AND wake_at IS NOT NULL;
CREATE INDEX orders_worker ON orders (worker_id) WHERE state = 'Processing';
CREATE INDEX orders_expiry ON orders (expires_at) WHERE state = 'Processed';
-- A reference may be of any length, a key of an index not.
CREATE INDEX orders_reference ON orders (creator_id, left(senders_reference, 100)) WHERE senders_reference IS NOT NULL;

-- Written once: texts, recipients as sent, settings.
CREATE TABLE order_content (
    order_id           uuid PRIMARY KEY,
    email_sender       text,
    email_subject      text,
    email_body         text,
    email_content_type text,
    sms_sender         text,
    sms_body           text,
    recipients         jsonb NOT NULL,
    sending_time       text,
    ignore_reservation boolean,
    allow_stale        boolean NOT NULL DEFAULT false,
    resource_id        text,
    resource_action    text,
    condition_endpoint text,
    CONSTRAINT order_content_email_whole CHECK (num_nulls(email_sender, email_subject, email_body) IN (0, 3)),
    CONSTRAINT order_content_sms_whole CHECK (num_nulls(sms_sender, sms_body) IN (0, 2))
) PARTITION BY RANGE (order_id);

-- Every evaluation of a send condition (processing 3.4).
CREATE TABLE condition_check (
    order_id    uuid NOT NULL,
    attempt     smallint NOT NULL,
    checked_at  timestamptz NOT NULL,
    http_status smallint,
    verdict     text NOT NULL CONSTRAINT condition_check_verdict CHECK (verdict IN ('met', 'not met', 'inconclusive')),
    detail      text NOT NULL DEFAULT '',
    PRIMARY KEY (order_id, attempt, checked_at)
);
