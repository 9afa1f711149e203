-- Webhooks (channels 7, design 8). What happened stands in status_feed alone: a webhook has a position in it, and rows of
-- its own only for what it was sent of late, and for what waits for another try.

-- What an entry tells of. Readers of the feed get entries of orders alone; webhooks are told of the others too.
ALTER TABLE feed_pending ADD COLUMN kind text NOT NULL DEFAULT 'order';
ALTER TABLE status_feed ADD COLUMN kind text NOT NULL DEFAULT 'order';

CREATE TABLE webhook (
    id               uuid PRIMARY KEY,
    creator_id       int NOT NULL,
    url              text NOT NULL,
    kinds            text[] NOT NULL,
    description      text,
    destinations     boolean NOT NULL,           -- whether events tell addresses
    secret           bytea NOT NULL,
    old_secret       bytea,                      -- signs beside the new one until then
    old_secret_until timestamptz,
    version          int NOT NULL DEFAULT 1,     -- of all above: a result for an older one says nothing of this one
    created_at       timestamptz NOT NULL,
    state            text NOT NULL CONSTRAINT webhook_state_known
                     CHECK (state IN ('pending', 'active', 'paused', 'disabled')),
    reason           text,                       -- why it is paused or disabled
    state_at         timestamptz NOT NULL,
    confirmed        boolean NOT NULL DEFAULT false, -- whether a ping to this URL was taken
    position         bigint NOT NULL,            -- in the feed: all up to it was sent, is not wanted, or has a row below
    replay_from      bigint,                     -- its owner wants all from there on again
    failures         int NOT NULL DEFAULT 0,     -- in a row
    resting_until    timestamptz,
    succeeded_at     timestamptz,
    lease_until      timestamptz,                -- machine time: one worker serves it until then
    served_at        timestamptz,                -- machine time: when a lease was last given
    fencing          bigint NOT NULL DEFAULT 0   -- counts leases: who has an older one changes nothing
);
CREATE INDEX webhook_creator ON webhook (creator_id);

-- The last tries of each event. seq and order_id are null for a ping, next_at while an earlier event of the order waits.
CREATE TABLE webhook_delivery (
    webhook_id uuid NOT NULL CONSTRAINT webhook_delivery_of REFERENCES webhook (id) ON DELETE CASCADE,
    event_id   uuid NOT NULL,
    seq        bigint,
    order_id   uuid,
    kind       text NOT NULL,
    happened   timestamptz NOT NULL,
    state      text NOT NULL CONSTRAINT webhook_delivery_state_known CHECK (state IN ('waiting', 'delivered', 'failed')),
    attempts   int NOT NULL,
    first_at   timestamptz,                      -- of the tries that count towards giving up
    last_at    timestamptz NOT NULL,             -- until the first try: when it came to wait
    next_at    timestamptz,
    status     smallint,                         -- of the last answer, if one came
    detail     text NOT NULL DEFAULT '',
    took       interval,
    PRIMARY KEY (webhook_id, event_id)
);
CREATE UNIQUE INDEX webhook_delivery_seq ON webhook_delivery (webhook_id, seq) WHERE seq IS NOT NULL;
CREATE INDEX webhook_delivery_waiting ON webhook_delivery (webhook_id, next_at) WHERE state = 'waiting';
CREATE INDEX webhook_delivery_last ON webhook_delivery (webhook_id, last_at);
