-- Where the operator has events sent to. The secret is derived from the server's key, `id` and `issue`: nothing of it is here.
-- `kinds`: the events that are wanted, with spaces around each; empty: all. `old_until`: the issue before signs as well until then.
CREATE TABLE webhooks (
    id         BIGINT NOT NULL PRIMARY KEY,
    url        TEXT NOT NULL,
    note       TEXT NOT NULL,
    kinds      TEXT NOT NULL,
    is_on      BOOLEAN NOT NULL,
    off_reason TEXT,
    issue      BIGINT NOT NULL CHECK (issue >= 1),
    old_until  BIGINT,
    created_at BIGINT NOT NULL
);

-- Deliveries are jobs: `recipient` is the webhook, `about` the program, `label` the kind of event.
CREATE INDEX jobs_of_webhook ON jobs (recipient, position) WHERE kind = 'webhook';
CREATE INDEX jobs_waiting_for_recipient ON jobs (recipient, tries, turn, position) WHERE next_at IS NOT NULL AND recipient IS NOT NULL;
