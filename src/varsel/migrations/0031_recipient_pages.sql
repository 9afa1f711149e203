-- What the pages look up. A notification is in one of two indexes: by whom it is for, or by the address that was given.

CREATE INDEX notification_address ON notification (lower(address)) WHERE subject_key IS NULL;
CREATE INDEX orders_creator ON orders (creator_id, id);
CREATE INDEX orders_stopped ON orders (id) WHERE state IN ('SendConditionNotMet', 'Cancelled');
