-- What the sandbox's simulators received, so that people and tests can look at it. The newest 10 000 are kept.

CREATE TABLE captured_message (
    id              uuid PRIMARY KEY,
    channel         channel NOT NULL,
    notification_id uuid,
    reference       text,                  -- the gateway's own, where the message does not name its notification
    sender          text NOT NULL,
    recipient       text NOT NULL,
    subject         text,
    text            text NOT NULL,
    html            text,
    raw             bytea NOT NULL,
    parts           smallint NOT NULL,
    alphabet        text,
    outcome         text NOT NULL,         -- what the simulator does with it
    received_at     timestamptz NOT NULL   -- business time
);
CREATE INDEX captured_message_recipient ON captured_message (lower(recipient), id);
