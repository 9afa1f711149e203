-- Addresses that are left alone for a while (channels 6.5). The address itself is not here: a keyed hash stands for it.

CREATE TABLE suppression (
    id           uuid PRIMARY KEY,
    channel      channel NOT NULL,
    address_hash bytea NOT NULL,
    masked       text NOT NULL,
    creator      text,                       -- whose messages it stops; NULL: everybody's
    provider     text,                       -- the instance that no longer sends there; NULL: whichever sends
    reason       text NOT NULL CONSTRAINT suppression_reason_known CHECK (reason IN
        ('hard_bounce', 'disabled', 'provider_list', 'complaint', 'unsubscribe', 'barred', 'manual')),
    source       text NOT NULL,              -- who found it out, or asked for it
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,                -- NULL: holds until it is removed
    times        smallint NOT NULL DEFAULT 1, -- that it was found out anew, after its end
    hits         int NOT NULL DEFAULT 0,     -- messages that it stopped
    last_hit_at  timestamptz,
    removed_at   timestamptz,
    removed_by   text,
    CONSTRAINT suppression_removal_whole CHECK ((removed_at IS NULL) = (removed_by IS NULL))
);

-- One entry for each reason; what has ended stays in it, and what was removed stays beside it.
CREATE UNIQUE INDEX suppression_entry ON suppression (address_hash, channel, reason, creator, provider)
    NULLS NOT DISTINCT WHERE removed_at IS NULL;
CREATE INDEX suppression_creator ON suppression (creator, id DESC);
CREATE INDEX suppression_ended ON suppression (coalesce(removed_at, expires_at));

-- Readers of such an email may ask for no more of the kind (channels 6.6).
ALTER TABLE order_content ADD COLUMN email_unsubscribable boolean NOT NULL DEFAULT false;

-- A message that was not handed over: its address is suppressed, or its text is not allowed.
ALTER TABLE attempt DROP CONSTRAINT attempt_outcome_known;
ALTER TABLE attempt ADD CONSTRAINT attempt_outcome_known CHECK (outcome IN
    ('accepted', 'refused', 'deferred', 'unknown', 'abandoned', 'suppressed', 'withheld'));
