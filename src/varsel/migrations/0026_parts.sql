-- Messages that a provider carries in parts, each with a reference and reports of its own (channels 1.10, 3.4); and
-- references that a provider may write in several ways.

CREATE TABLE message_part (
    notification_id uuid NOT NULL,
    provider        text NOT NULL,
    submission      uuid NOT NULL,      -- one try: its parts arrive together, or it has not arrived
    part            smallint NOT NULL,  -- from 1
    parts           smallint NOT NULL,
    reference       text NOT NULL,
    delivered       boolean NOT NULL DEFAULT false
) PARTITION BY RANGE (notification_id);
CREATE INDEX message_part_reference ON message_part (reference);
CREATE INDEX message_part_notification ON message_part (notification_id);

ALTER TABLE delivery_report ADD COLUMN other_refs text[];
