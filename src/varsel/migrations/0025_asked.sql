-- Messages of unknown outcome whose provider is asked what became of them, and when.
CREATE INDEX notification_asked ON notification (provider, wake_at) WHERE state = 'unknown' AND wake_at IS NOT NULL;
