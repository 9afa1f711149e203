-- What creators have used of their limits (channels 6.3), and orders whose failed message is tried on the other channel.

-- A counter is made with a creator's first order that it limits. A day's is at 0 again when `at` lies before that day.
CREATE TABLE quota (
    creator_id int NOT NULL,
    counter    text NOT NULL,
    most       double precision NOT NULL,
    refill     double precision,          -- a second, of a bucket; NULL: the counter is of a calendar day
    used       double precision NOT NULL CONSTRAINT quota_used_counts CHECK (used >= 0),
    taken      double precision NOT NULL, -- by the last statement that asked
    at         timestamptz NOT NULL,      -- business time; of a bucket, machine time
    PRIMARY KEY (creator_id, counter)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- What an order took of its creator's daily limits: given back when it is cancelled.
ALTER TABLE order_content ADD COLUMN quota jsonb;

-- When nobody is reached until then, the other channel is tried. NULL: it is not.
ALTER TABLE orders ADD COLUMN fallback_until timestamptz;

-- One for each order whose messages all failed in time, for ever: it is tried once. Counts as pending until decided.
CREATE TABLE fallback (
    order_id   uuid PRIMARY KEY,
    channel    channel NOT NULL,           -- the other one
    late       boolean NOT NULL,           -- the order was complete already: what comes of it is told as a correction
    opened_at  timestamptz NOT NULL,
    wake_at    timestamptz,                -- when it is looked up, or looked up again; NULL: it is decided
    attempts   smallint NOT NULL DEFAULT 0,
    outcome    text CONSTRAINT fallback_outcome_known CHECK (outcome IN ('sent', 'unreachable', 'reserved', 'expired')),
    decided_at timestamptz,
    CONSTRAINT fallback_decided_whole CHECK (num_nulls(outcome, decided_at) IN (0, 2) AND (wake_at IS NULL) = (outcome IS NOT NULL))
);
CREATE INDEX fallback_wake ON fallback (wake_at) WHERE wake_at IS NOT NULL;

-- Complete orders whose fallback has a message without a fate.
CREATE INDEX orders_reopened ON orders (expires_at) WHERE state = 'Completed' AND pending > 0;
