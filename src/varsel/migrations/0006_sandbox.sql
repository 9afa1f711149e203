-- What the sandbox's simulators received, so that people and tests can look at it.

CREATE TABLE captured_message (
    id              uuid PRIMARY KEY,
    channel         channel NOT NULL,
    notification_id uuid,
    sender          text NOT NULL,
    recipient       text NOT NULL,
    subject         text,
    text            text NOT NULL,
    html            text,
    raw             bytea NOT NULL,
    parts           smallint NOT NULL DEFAULT 1,
    alphabet        text,
    outcome         text NOT NULL DEFAULT '',
    received_at     timestamptz NOT NULL
);
CREATE INDEX captured_message_recipient ON captured_message (recipient, id);
