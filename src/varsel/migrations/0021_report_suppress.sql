-- What a report means for the next message to its address (channels 4.3, 6.5), beside what it says of its own.

ALTER TABLE delivery_report ADD COLUMN suppress text;

-- Mail to bounce addresses that was no report, such as vacation notices: counted, and not kept (channels 2.3).
CREATE TABLE dropped_mail (
    kind    text PRIMARY KEY,
    count   bigint NOT NULL,
    last_at timestamptz NOT NULL
);
