-- How many messages stand where, counted as they move: nobody counts notifications to show a page (ADR 12).

-- Appended in the transaction that moves messages; a worker folds it into the three tables below.
CREATE TABLE tally_delta (
    creator_id int NOT NULL,
    channel    text NOT NULL,        -- '' where an order counts: it is not resolved yet
    provider   text NOT NULL,        -- '' where nobody has the message
    bucket     text NOT NULL,
    minute     timestamptz NOT NULL, -- business time
    n          int NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE tally_total (
    creator_id int NOT NULL,
    channel    text NOT NULL,
    provider   text NOT NULL,
    bucket     text NOT NULL,
    n          bigint NOT NULL,
    PRIMARY KEY (creator_id, bucket, channel, provider)
) WITH (fillfactor = 50);

CREATE TABLE tally_minute (
    minute     timestamptz NOT NULL,
    creator_id int NOT NULL,
    channel    text NOT NULL,
    bucket     text NOT NULL,
    n          bigint NOT NULL,
    PRIMARY KEY (minute, creator_id, bucket, channel)
) WITH (fillfactor = 50);

CREATE TABLE tally_hour (
    hour       timestamptz NOT NULL,
    creator_id int NOT NULL,
    channel    text NOT NULL,
    bucket     text NOT NULL,
    n          bigint NOT NULL,
    PRIMARY KEY (hour, creator_id, bucket, channel)
) WITH (fillfactor = 50);

-- What is there already, counted once. Ordinary use never counts again.
INSERT INTO tally_total (creator_id, channel, provider, bucket, n)
SELECT creator_id, channel, CASE bucket WHEN 'open' THEN '' ELSE provider END, bucket, count(*)
  FROM (SELECT creator_id, channel::text AS channel, coalesce(provider, '') AS provider,
               CASE WHEN state IN ('new', 'claimed') THEN 'open'
                    WHEN state = 'accepted' AND settled THEN 'settled'
                    WHEN state = 'failed' AND reason IN ('Failed_RecipientReserved', 'Failed_RecipientNotIdentified',
                                                         'Failed_SupressedRecipient') THEN 'not_sent'
                    WHEN state = 'expired' AND accepted_at IS NULL THEN 'failed'
                    ELSE state::text END AS bucket
          FROM notification) n
 GROUP BY 1, 2, 3, 4;

INSERT INTO tally_total (creator_id, channel, provider, bucket, n)
SELECT creator_id, '', '', 'scheduled', sum(recipients) FROM orders WHERE state IN ('Registered', 'Processing')
 GROUP BY creator_id;

-- The last days' ends, by when the state changed last, and what was taken in.
INSERT INTO tally_hour (hour, creator_id, channel, bucket, n)
SELECT date_trunc('hour', state_at, 'UTC'), creator_id, channel, bucket, count(*)
  FROM (SELECT state_at, creator_id, channel::text AS channel,
               CASE WHEN state = 'accepted' THEN 'settled'
                    WHEN state = 'failed' AND reason IN ('Failed_RecipientReserved', 'Failed_RecipientNotIdentified',
                                                         'Failed_SupressedRecipient') THEN 'not_sent'
                    WHEN state = 'expired' AND accepted_at IS NULL THEN 'failed'
                    ELSE state::text END AS bucket
          FROM notification
         WHERE (state IN ('delivered', 'failed', 'expired') OR settled) AND state_at > now() - interval '9 days') n
 GROUP BY 1, 2, 3, 4;

INSERT INTO tally_hour (hour, creator_id, channel, bucket, n)
SELECT date_trunc('hour', created_at, 'UTC'), creator_id, '', 'taken', sum(recipients)
  FROM orders WHERE created_at > now() - interval '9 days'
 GROUP BY 1, 2;
