-- What support and operators look up: one recipient's notifications, the notification log, and what the metrics count.

CREATE INDEX notification_subject ON notification (subject_key) WHERE subject_key IS NOT NULL;
CREATE INDEX notification_unknown ON notification (state_at) WHERE state = 'unknown';
CREATE INDEX attempt_uncertain ON attempt (ended_at) WHERE outcome IN ('unknown', 'abandoned');
CREATE INDEX delivery_report_dead ON delivery_report (received_at) WHERE state = 'dead';

-- These ids are senders' texts of any length, a key of an index is not.
CREATE INDEX order_chain_dialog ON order_chain (creator_id, left(dialog_id, 100)) WHERE dialog_id IS NOT NULL;
CREATE INDEX order_chain_transmission ON order_chain (creator_id, left(transmission_id, 100))
    WHERE transmission_id IS NOT NULL;
