-- What the whole road stands on: creators, workers, the sandbox's clock, provider instances.

CREATE TABLE creator (
    id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL CONSTRAINT creator_name_key UNIQUE,
    created_at timestamptz NOT NULL
);

-- One row for each live process. The lease is judged by the database's own clock, never by a host (design 8).
CREATE TABLE worker (
    id            int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          text NOT NULL CONSTRAINT worker_kind_known CHECK (kind IN ('api', 'worker')),
    host          text NOT NULL,
    pid           int NOT NULL,
    started_at    timestamptz NOT NULL,
    lease_until   timestamptz NOT NULL,
    clock_version bigint NOT NULL DEFAULT 0,
    idle          boolean NOT NULL DEFAULT false
);

CREATE TABLE sandbox_clock (
    one     boolean PRIMARY KEY DEFAULT true CONSTRAINT sandbox_clock_one_row CHECK (one),
    shift   interval NOT NULL DEFAULT '0',
    version bigint NOT NULL DEFAULT 0
);
INSERT INTO sandbox_clock DEFAULT VALUES;

-- State of a provider instance; the instance itself stands in the settings. Times are machine time.
CREATE TABLE provider (
    name         text PRIMARY KEY,
    channel      text NOT NULL,
    paused_until timestamptz,
    failures     int NOT NULL DEFAULT 0, -- in a row, charged to the provider
    detail       text NOT NULL DEFAULT ''
);
