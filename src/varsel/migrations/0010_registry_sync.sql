-- Registers that follow their upstream (registries 2.5, 3.4, 7.2-7.4). Times of runs and leases are machine time.

-- Which snapshot wrote the row: full synchronisation, page of the feed, place in the page. A lower one never wins.
ALTER TABLE registry.person
    ADD COLUMN generation int NOT NULL DEFAULT 0,
    ADD COLUMN position bigint NOT NULL DEFAULT 0,
    ADD COLUMN ordinal int NOT NULL DEFAULT 0,
    ADD COLUMN version_at timestamptz; -- newest time in any snapshot of the person; outlives a deletion

ALTER TABLE registry.org_address ADD COLUMN generation int NOT NULL DEFAULT 0;

-- Addresses that the register removed. An entry that is not newer than its removal is an old one, and passed over.
CREATE TABLE registry.org_address_removed (
    registry_id text COLLATE "C" PRIMARY KEY,
    updated_at  timestamptz NOT NULL,
    removed_at  timestamptz NOT NULL -- here
);

-- One row for each feed: where we stand in it, who reads it now, and how it went.
CREATE TABLE registry.sync_cursor (
    feed                 text PRIMARY KEY,
    position             bigint NOT NULL DEFAULT 0, -- KRR: number of the last change that was read
    position_at          timestamptz,               -- business addresses: newest change that was read
    next_page            text,                      -- business addresses: where a run of many pages goes on
    run_made_at          timestamptz,               -- when the register made the first of them
    upstream_latest      bigint,                    -- KRR: number of the newest change there is
    generation           int NOT NULL DEFAULT 1,    -- of the full synchronisation
    reloading            boolean NOT NULL DEFAULT false,
    allow_large_removal  boolean NOT NULL DEFAULT false,
    held_back            bigint NOT NULL DEFAULT 0, -- rows that a reload did not see, too many to be removed unasked
    state                text NOT NULL DEFAULT 'idle' CONSTRAINT sync_cursor_state_known
        CHECK (state IN ('idle', 'running', 'error', 'needs_resync')),
    fencing              bigint NOT NULL DEFAULT 0, -- of the run that holds the lease, or held it last
    lease_until          timestamptz,
    released_at          timestamptz,
    not_before           timestamptz,               -- the register asked us to stay away until then
    last_started_at      timestamptz,
    last_success_at      timestamptz,               -- end of the last run that read everything there was
    last_error_at        timestamptz,
    last_error           text,
    consecutive_failures int NOT NULL DEFAULT 0,
    pages_total          bigint NOT NULL DEFAULT 0,
    rows_total           bigint NOT NULL DEFAULT 0
);
INSERT INTO registry.sync_cursor (feed) VALUES ('krr'), ('business-addresses');

CREATE TABLE registry.sync_run (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    feed          text NOT NULL,
    started_at    timestamptz NOT NULL,
    ended_at      timestamptz,
    outcome       text CONSTRAINT sync_run_outcome_known CHECK (outcome IN ('done', 'error', 'stopped', 'abandoned')),
    error         text,
    from_position text NOT NULL,
    to_position   text NOT NULL,
    pages         int NOT NULL DEFAULT 0,
    inserted      bigint NOT NULL DEFAULT 0,
    updated       bigint NOT NULL DEFAULT 0,
    unchanged     bigint NOT NULL DEFAULT 0,
    removed       bigint NOT NULL DEFAULT 0,
    ignored       bigint NOT NULL DEFAULT 0,
    quarantined   bigint NOT NULL DEFAULT 0
);
CREATE INDEX sync_run_feed ON registry.sync_run (feed, id);

-- Records that could not be read, whole, with their place in the feed: they are tried again by command.
CREATE TABLE registry.quarantine (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    feed          text NOT NULL,
    upstream_id   text COLLATE "C" NOT NULL, -- subject key, registry id, or a hash of what has neither
    reason        text NOT NULL,
    payload       text, -- JSON; none when it was too long, or is too old to be kept
    generation    int NOT NULL,
    position      bigint NOT NULL,
    ordinal       int NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    seen_count    int NOT NULL DEFAULT 1,
    resolved_at   timestamptz,
    resolution    text CONSTRAINT quarantine_resolution_known
        CHECK (resolution IN ('applied', 'superseded', 'discarded'))
);
CREATE UNIQUE INDEX quarantine_open ON registry.quarantine (feed, upstream_id, reason) WHERE resolved_at IS NULL;
