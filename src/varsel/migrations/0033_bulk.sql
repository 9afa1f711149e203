-- Bulk sending: a file that was uploaded, and its rows. A row of the file becomes an order of its own.

CREATE TABLE bulk_job (
    id           uuid PRIMARY KEY,
    creator      text NOT NULL,
    name         text NOT NULL,              -- of the file
    form         text NOT NULL,
    state        text NOT NULL CONSTRAINT bulk_job_state_known CHECK (state IN
        ('uploading', 'draft', 'checking', 'ready', 'sending', 'paused', 'stopping', 'stopped', 'finished')),
    created_at   timestamptz NOT NULL,
    state_at     timestamptz NOT NULL,
    columns      text[] NOT NULL,
    rows         int NOT NULL DEFAULT 0,
    checked      int NOT NULL DEFAULT 0,
    checked_line int NOT NULL DEFAULT 0,     -- the check goes on after it
    wish         jsonb,                      -- texts, channel, column of recipients
    summary      jsonb NOT NULL DEFAULT '{}',
    confirmed_at timestamptz,
    done_at      timestamptz,                -- when the last row got its fate
    wake_at      timestamptz,                -- business time; nothing is ordered before then
    why_waits    text,
    in_doubt     int,                        -- rows up to this line may have been ordered without our knowing
    look_after   int NOT NULL DEFAULT 0,     -- the next look at rows under way begins after this line
    taken_by     uuid,                       -- a worker's turn; machine time
    taken_until  timestamptz,
    served_at    timestamptz,                -- machine time; whoever waited longest is next
    busy         boolean NOT NULL DEFAULT false -- after its turn there was more to do at once
);
CREATE INDEX bulk_job_creator ON bulk_job (creator, id);
CREATE INDEX bulk_job_open ON bulk_job (served_at)
    WHERE state IN ('checking', 'sending', 'paused', 'stopping', 'stopped') AND done_at IS NULL;

CREATE TABLE bulk_row (
    job_id   uuid NOT NULL,
    line     int NOT NULL,     -- of the file, where the row begins
    state    text NOT NULL DEFAULT 'new' CONSTRAINT bulk_row_state_known CHECK (state IN
        ('new', 'bad', 'duplicate', 'ready', 'ordered', 'handed', 'delivered', 'unconfirmed', 'failed', 'notSent',
         'unreachable', 'stopped')),
    fields   text[] NOT NULL,  -- one more than there are columns: the row has too many
    key      bytea,            -- equal for rows that say the same to the same recipient
    problems text[],           -- of a bad row: problem and column in turn
    order_id uuid,
    PRIMARY KEY (job_id, line)
) WITH (fillfactor = 80);
CREATE INDEX bulk_row_key ON bulk_row (job_id, key) WHERE key IS NOT NULL;
CREATE INDEX bulk_row_open ON bulk_row (job_id, state, line) WHERE state IN ('ready', 'ordered', 'handed');
