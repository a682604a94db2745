-- What the reservation side keeps. Times: UTC microseconds since 1970. Money: minor units of the one currency.
-- Names, states and kinds are those of the API. migrations/postgres/0001_first.sql says the same for PostgreSQL.

CREATE TABLE server (
    one               INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    vault_marker      BLOB NOT NULL CHECK (length(vault_marker) = 32),
    schedule_revision INTEGER NOT NULL,
    -- When a server last noted that it is there.
    present_at        INTEGER,
    -- In what is booked; none: nobody has said yet.
    slot              INTEGER CHECK (slot > 0),
    currency          TEXT,
    CHECK ((slot IS NULL) = (currency IS NULL))
) STRICT;

CREATE TABLE members (
    number             INTEGER NOT NULL PRIMARY KEY CHECK (number BETWEEN 1 AND 9007199254740991),
    user_id            TEXT NOT NULL CONSTRAINT members_user_id UNIQUE,
    name               TEXT NOT NULL,
    reading            TEXT NOT NULL,
    email              TEXT NOT NULL,
    -- Addresses are ASCII: in lower case they are the same for us when they are the same here.
    email_folded       TEXT NOT NULL CONSTRAINT members_email_folded UNIQUE,
    email_public       INTEGER NOT NULL CHECK (email_public IN (0, 1)),
    web                TEXT,
    language           TEXT NOT NULL,
    kind               TEXT NOT NULL CHECK (kind IN ('general', 'premium')),
    is_operator        INTEGER NOT NULL CHECK (is_operator IN (0, 1)),
    is_blocked         INTEGER NOT NULL CHECK (is_blocked IN (0, 1)),
    password_hash      TEXT NOT NULL,
    contact_address    TEXT,
    contact_phone      TEXT,
    contact_mobile     TEXT,
    contact_fax        TEXT,
    card_token         TEXT,
    card_brand         TEXT,
    card_last_four     TEXT,
    card_expires_year  INTEGER,
    card_expires_month INTEGER CHECK (card_expires_month BETWEEN 1 AND 12),
    terminal_key       TEXT,
    registered_at      INTEGER NOT NULL,
    version            INTEGER NOT NULL CHECK (version >= 1),
    CHECK ((contact_address IS NULL) = (contact_phone IS NULL)),
    CHECK ((card_token IS NULL) = (card_brand IS NULL)),
    CHECK ((card_token IS NULL) = (card_last_four IS NULL)),
    CHECK ((card_expires_year IS NULL) = (card_expires_month IS NULL))
) STRICT;

CREATE TABLE sessions (
    token_hash BLOB NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    member     INTEGER NOT NULL REFERENCES members (number),
    csrf_hash  BLOB NOT NULL CHECK (length(csrf_hash) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_member ON sessions (member);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE api_tokens (
    token_hash BLOB NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    member     INTEGER NOT NULL REFERENCES members (number),
    name       TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CONSTRAINT api_tokens_name UNIQUE (member, name)
) STRICT;

CREATE TABLE channels (
    number     INTEGER NOT NULL PRIMARY KEY CHECK (number BETWEEN 0 AND 65535),
    name       TEXT NOT NULL CONSTRAINT channels_name UNIQUE,
    seats      INTEGER NOT NULL CHECK (seats BETWEEN 1 AND 1048575),
    class      INTEGER NOT NULL CHECK (class >= 1),
    toll       INTEGER NOT NULL CHECK (toll >= 0),
    is_retired INTEGER NOT NULL CHECK (is_retired IN (0, 1)),
    version    INTEGER NOT NULL CHECK (version >= 1)
) STRICT;

CREATE TABLE reservations (
    number            INTEGER NOT NULL PRIMARY KEY CHECK (number BETWEEN 1 AND 9007199254740991),
    member            INTEGER NOT NULL REFERENCES members (number),
    kind              TEXT NOT NULL CHECK (kind IN ('private', 'special')),
    channel           INTEGER NOT NULL REFERENCES channels (number),
    window_start      INTEGER NOT NULL,
    window_end        INTEGER NOT NULL,
    seats             INTEGER NOT NULL CHECK (seats BETWEEN 1 AND 1048575),
    class             INTEGER NOT NULL CHECK (class >= 1),
    toll              INTEGER NOT NULL CHECK (toll >= 0),
    state             TEXT NOT NULL CHECK (state IN ('held', 'registered', 'confirmed', 'on_air', 'finished',
        'finished_charged', 'finished_waived', 'cancelled_member', 'cancelled_not_reconfirmed',
        'cancelled_terms_not_accepted', 'cancelled_operator')),
    title             TEXT NOT NULL,
    genre             TEXT NOT NULL,
    outline           TEXT NOT NULL,
    details           TEXT NOT NULL,
    open_level        TEXT NOT NULL CHECK (open_level IN ('public', 'password', 'secret')),
    sealed_password   BLOB,
    show_email        INTEGER NOT NULL CHECK (show_email IN (0, 1)),
    show_web          INTEGER NOT NULL CHECK (show_web IN (0, 1)),
    friends           TEXT NOT NULL,
    booked_at         INTEGER NOT NULL,
    hold_until        INTEGER NOT NULL,
    reconfirm_until   INTEGER NOT NULL,
    terms_accepted_at INTEGER,
    confirmed_at      INTEGER,
    over_at           INTEGER,
    id_hash           BLOB CHECK (length(id_hash) = 32),
    id_issue          INTEGER NOT NULL CHECK (id_issue >= 0),
    is_reminded       INTEGER NOT NULL CHECK (is_reminded IN (0, 1)),
    calendar_sequence INTEGER NOT NULL CHECK (calendar_sequence >= 0),
    version           INTEGER NOT NULL CHECK (version >= 1),
    CHECK (window_start < window_end),
    -- 2^61: a difference stays within 64 bits.
    CHECK (window_start >= -2305843009213693952 AND window_end <= 2305843009213693952),
    CHECK (open_level = 'public' OR sealed_password IS NOT NULL)
) STRICT;
CREATE INDEX reservations_by_start ON reservations (window_start, number);
CREATE INDEX reservations_by_member ON reservations (member, window_start, number);
CREATE INDEX reservations_by_channel ON reservations (channel, window_start, number);
-- How far back those can begin that are not over at a moment.
CREATE INDEX reservations_by_length ON reservations ((window_end - window_start));
CREATE INDEX reservations_held ON reservations (hold_until) WHERE state = 'held';
CREATE INDEX reservations_registered ON reservations (reconfirm_until) WHERE state = 'registered';
CREATE INDEX reservations_confirmed ON reservations (window_start) WHERE state = 'confirmed';
CREATE INDEX reservations_scheduled ON reservations (window_end) WHERE state IN ('confirmed', 'on_air');
CREATE INDEX reservations_unsettled ON reservations (window_end) WHERE state = 'finished';

-- One row for each slot that is taken: what makes a second sale impossible.
CREATE TABLE slots (
    channel     INTEGER NOT NULL REFERENCES channels (number),
    start       INTEGER NOT NULL,
    reservation INTEGER NOT NULL REFERENCES reservations (number),
    PRIMARY KEY (channel, start)
) STRICT, WITHOUT ROWID;
CREATE INDEX slots_by_start ON slots (start, channel);
CREATE INDEX slots_by_reservation ON slots (reservation, start);

-- The outbox. `next_at`: when to try next; none: sent or given up.
CREATE TABLE mails (
    position          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    key               TEXT NOT NULL CONSTRAINT mails_key UNIQUE,
    kind              TEXT NOT NULL CHECK (kind IN ('welcome', 'reservation_id', 'reconfirm_reminder', 'confirmed',
        'invitation', 'changed', 'cancelled', 'extended', 'settled', 'refunded')),
    recipient         TEXT NOT NULL,
    member            INTEGER NOT NULL REFERENCES members (number),
    reservation       INTEGER REFERENCES reservations (number),
    calendar_sequence INTEGER NOT NULL CHECK (calendar_sequence >= 0),
    changes           TEXT NOT NULL,
    created_at        INTEGER NOT NULL,
    tries             INTEGER NOT NULL CHECK (tries >= 0),
    next_at           INTEGER,
    sent_at           INTEGER,
    error             TEXT,
    CHECK (sent_at IS NULL OR next_at IS NULL)
) STRICT;
CREATE INDEX mails_waiting ON mails (next_at, position) WHERE next_at IS NOT NULL;

CREATE TABLE payments (
    position    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    key         TEXT NOT NULL CONSTRAINT payments_key UNIQUE,
    kind        TEXT NOT NULL CHECK (kind IN ('authorise', 'capture', 'release', 'refund')),
    reservation INTEGER NOT NULL REFERENCES reservations (number),
    member      INTEGER NOT NULL REFERENCES members (number),
    amount      INTEGER NOT NULL CHECK (amount >= 0),
    reason      TEXT,
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'declined')),
    reference   TEXT,
    error       TEXT,
    tries       INTEGER NOT NULL CHECK (tries >= 0),
    next_at     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX payments_by_reservation ON payments (reservation, position);
CREATE INDEX payments_by_reference ON payments (reference) WHERE reference IS NOT NULL;
CREATE INDEX payments_waiting ON payments (next_at, position) WHERE state = 'waiting';

CREATE TABLE ledger (
    position      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    key           TEXT NOT NULL CONSTRAINT ledger_key UNIQUE,
    kind          TEXT NOT NULL CHECK (kind IN ('authorised', 'released', 'charged', 'collected', 'refunded',
        'refund_failed')),
    reservation   INTEGER NOT NULL REFERENCES reservations (number),
    at            INTEGER NOT NULL,
    debit         TEXT NOT NULL CHECK (debit IN ('member_holds', 'holds', 'receivable', 'revenue', 'cash')),
    debit_member  INTEGER REFERENCES members (number),
    credit        TEXT NOT NULL CHECK (credit IN ('member_holds', 'holds', 'receivable', 'revenue', 'cash')),
    credit_member INTEGER REFERENCES members (number),
    amount        INTEGER NOT NULL CHECK (amount > 0),
    CHECK ((debit IN ('member_holds', 'receivable')) = (debit_member IS NOT NULL)),
    CHECK ((credit IN ('member_holds', 'receivable')) = (credit_member IS NOT NULL))
) STRICT;
CREATE INDEX ledger_by_time ON ledger (at, position);
CREATE INDEX ledger_by_reservation ON ledger (reservation, position);
CREATE INDEX ledger_by_debit ON ledger (debit, debit_member, amount);
CREATE INDEX ledger_by_credit ON ledger (credit, credit_member, amount);
CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;

CREATE TABLE runs (
    reservation  INTEGER NOT NULL PRIMARY KEY REFERENCES reservations (number),
    normal_ms    INTEGER NOT NULL CHECK (normal_ms >= 0),
    media_ms     INTEGER NOT NULL CHECK (media_ms >= 0),
    viewers_peak INTEGER NOT NULL CHECK (viewers_peak >= 0),
    viewer_ms    INTEGER NOT NULL CHECK (viewer_ms >= 0)
) STRICT;

CREATE TABLE samples (
    reservation INTEGER NOT NULL REFERENCES reservations (number),
    at          INTEGER NOT NULL,
    viewers     INTEGER NOT NULL CHECK (viewers >= 0),
    PRIMARY KEY (reservation, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE pickups (
    reservation INTEGER NOT NULL PRIMARY KEY REFERENCES reservations (number),
    note        TEXT NOT NULL,
    position    INTEGER NOT NULL
) STRICT;

CREATE TABLE kept_answers (
    scope        TEXT NOT NULL,
    key          TEXT NOT NULL,
    request_hash BLOB NOT NULL CHECK (length(request_hash) = 32),
    made         TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX kept_answers_by_age ON kept_answers (created_at);

CREATE TABLE seen_events (
    event   TEXT NOT NULL PRIMARY KEY,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_events_by_age ON seen_events (seen_at);
