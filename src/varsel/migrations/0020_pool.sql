-- The pool: what all processes share about each provider instance (channels 1.7-1.9). Times are machine time.

-- failures: how often its breaker opened in a row. A breaker whose time is over lets single messages through, on trial.
ALTER TABLE provider
    ADD weight        smallint,                       -- NULL: as it is at rest
    ADD weight_at     timestamptz,                    -- of the last change, but for drifting back
    ADD drifted_at    timestamptz,
    ADD stopped       boolean NOT NULL DEFAULT false, -- by an operator
    ADD breaker_until timestamptz,                    -- NULL: closed
    ADD successes     smallint NOT NULL DEFAULT 0,    -- of trials
    ADD trial_until   timestamptz,                    -- somebody tries a message
    ADD counted_from  timestamptz,                    -- errors before it are forgiven
    ADD tokens        double precision,
    ADD refilled_at   timestamptz,
    ADD hour_of       timestamptz,
    ADD hour_used     bigint NOT NULL DEFAULT 0,
    ADD day_of        timestamptz,
    ADD day_used      bigint NOT NULL DEFAULT 0;

-- What became of what was handed over, in slots of five seconds. Lost with a crash of the server, and soon made again.
CREATE UNLOGGED TABLE provider_window (
    provider text NOT NULL,
    slot     timestamptz NOT NULL,
    attempts int NOT NULL,
    errors   int NOT NULL,
    PRIMARY KEY (provider, slot)
);

-- Why a provider's weight, breaker or pause is as it is.
CREATE TABLE provider_change (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider text NOT NULL,
    at       timestamptz NOT NULL DEFAULT statement_timestamp(),
    kind     text NOT NULL CONSTRAINT provider_change_kind_known
        CHECK (kind IN ('weight', 'opened', 'closed', 'paused', 'stopped', 'started')),
    weight   smallint,
    detail   text NOT NULL DEFAULT '',
    author   text NOT NULL DEFAULT 'varsel'
);
CREATE INDEX provider_change_provider ON provider_change (provider, id DESC);

ALTER TABLE notification ADD tried text[]; -- the providers that could not take it, one entry a try
