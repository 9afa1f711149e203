-- One message on one channel to one address, or the record that somebody could not be reached. The row is the job.

CREATE TYPE channel AS ENUM ('email', 'sms');
CREATE TYPE notification_state AS ENUM ('new', 'claimed', 'unknown', 'accepted', 'delivered', 'failed', 'expired');
CREATE TYPE subject_kind AS ENUM ('person', 'organisation');

CREATE TABLE notification (
    id             uuid PRIMARY KEY,
    order_id       uuid NOT NULL,
    creator_id     int NOT NULL,
    channel        channel NOT NULL,
    lane           smallint NOT NULL,
    state          notification_state NOT NULL DEFAULT 'new',
    settled        boolean NOT NULL DEFAULT false,  -- accepted counts as its fate: no confirmation will come
    soft           boolean NOT NULL DEFAULT false,  -- a failure that later evidence may overrule
    daytime        boolean NOT NULL DEFAULT false,
    attempts       smallint NOT NULL DEFAULT 0,     -- tries that were charged to the message
    returns        smallint NOT NULL DEFAULT 0,     -- tries that were charged to the provider
    unknowns       smallint NOT NULL DEFAULT 0,     -- tries of unknown outcome: each may have arrived
    segments       smallint,
    reason         text CONSTRAINT notification_reason_of_failure CHECK ((reason IS NOT NULL) = (state = 'failed')),
    state_at       timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    wake_at        timestamptz,  -- new: waits; unknown: is decided; accepted: settles
    accepted_at    timestamptz,
    claim_id       uuid,
    subject_kind   subject_kind,
    subject_key    text,
    address        text NOT NULL,
    recipient_name text,         -- value of $recipientName$; NULL keeps the keywords in the text
    provider       text,
    provider_ref   text,
    detail         text NOT NULL DEFAULT '',
    CONSTRAINT notification_subject_whole CHECK ((subject_kind IS NULL) = (subject_key IS NULL))
) PARTITION BY RANGE (id);

CREATE INDEX notification_claim ON notification (channel, lane, creator_id, id) WHERE state = 'new' AND wake_at IS NULL;
CREATE INDEX notification_wake ON notification (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX notification_order ON notification (order_id);
CREATE INDEX notification_reference ON notification (provider_ref) WHERE provider_ref IS NOT NULL;

-- What a worker holds. ids up to handed_over may have left; the rest have not (proven 5).
CREATE TABLE claim (
    id          uuid PRIMARY KEY,
    worker_id   int NOT NULL,
    provider    text NOT NULL,
    ids         uuid[] NOT NULL,
    handed_over smallint NOT NULL DEFAULT 0,
    claimed_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX claim_worker ON claim (worker_id);

-- Attempts that need explaining: every outcome but a clean first acceptance, which the notification itself holds.
CREATE TABLE attempt (
    notification_id uuid NOT NULL,
    number          smallint NOT NULL,
    provider        text NOT NULL,
    ended_at        timestamptz NOT NULL,
    outcome         text NOT NULL
        CONSTRAINT attempt_outcome_known CHECK (outcome IN ('accepted', 'refused', 'deferred', 'unknown', 'abandoned')),
    detail          text NOT NULL DEFAULT ''
) PARTITION BY RANGE (notification_id);
CREATE INDEX attempt_notification ON attempt (notification_id);

-- The inbox: a report is stored, acknowledged, and then applied.
CREATE TABLE delivery_report (
    id              uuid PRIMARY KEY,
    provider        text NOT NULL,
    event_key       text NOT NULL,
    channel         channel NOT NULL,
    notification_id uuid,
    provider_ref    text,
    verdict         text NOT NULL,
    reason          text,
    soft            boolean NOT NULL DEFAULT false,
    raw_state       text NOT NULL,
    detail          text NOT NULL DEFAULT '',
    payload         jsonb NOT NULL,
    received_at     timestamptz NOT NULL,
    state           text NOT NULL DEFAULT 'pending' CONSTRAINT delivery_report_state_known
        CHECK (state IN ('pending', 'applied', 'parked', 'dead', 'rejected', 'late')),
    state_reason    text NOT NULL DEFAULT '',
    tries           smallint NOT NULL DEFAULT 0,
    wake_at         timestamptz
) PARTITION BY RANGE (id);
CREATE INDEX delivery_report_pending ON delivery_report (id) WHERE state = 'pending';
CREATE INDEX delivery_report_parked ON delivery_report (wake_at) WHERE state = 'parked';
CREATE INDEX delivery_report_notification ON delivery_report (notification_id) WHERE notification_id IS NOT NULL;
