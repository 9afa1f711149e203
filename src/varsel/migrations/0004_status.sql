-- The status feed. Finished orders wait in feed_pending; one sequencer numbers them, so that no reader meets a hole
-- (proven 3). `correction` marks a further entry of an order whose outcome was corrected on evidence.

CREATE TABLE feed_pending (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    creator_id int NOT NULL,
    order_id   uuid NOT NULL,
    created_at timestamptz NOT NULL,
    body       jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE status_feed (
    seq        bigint NOT NULL,
    creator_id int NOT NULL,
    order_id   uuid NOT NULL,
    created_at timestamptz NOT NULL,
    body       jsonb NOT NULL,
    PRIMARY KEY (creator_id, seq)
);
CREATE INDEX status_feed_created ON status_feed (created_at);
CREATE SEQUENCE feed_seq;
