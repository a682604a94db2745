-- What the reservation side keeps. Times: UTC microseconds since 1970. Money: minor units of the one currency.
-- Names, states and kinds are those of the API. migrations/sqlite/0001_first.sql says the same for SQLite.
-- What is sorted by has the collation "C": the same order everywhere, whatever the server's locale.

CREATE TABLE server (
    one               BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    vault_marker      BYTEA NOT NULL CHECK (length(vault_marker) = 32),
    schedule_revision BIGINT NOT NULL,
    -- When a server last noted that it is there.
    present_at        BIGINT,
    -- In what is booked; none: nobody has said yet.
    slot              BIGINT CHECK (slot > 0),
    currency          TEXT,
    CHECK ((slot IS NULL) = (currency IS NULL))
);

CREATE TABLE members (
    number             BIGINT NOT NULL PRIMARY KEY CHECK (number BETWEEN 1 AND 9007199254740991),
    user_id            TEXT COLLATE "C" NOT NULL CONSTRAINT members_user_id UNIQUE,
    name               TEXT NOT NULL,
    reading            TEXT NOT NULL,
    email              TEXT NOT NULL,
    -- Addresses are ASCII: in lower case they are the same for us when they are the same here.
    email_folded       TEXT NOT NULL CONSTRAINT members_email_folded UNIQUE,
    email_public       BOOLEAN NOT NULL,
    web                TEXT,
    language           TEXT NOT NULL,
    kind               TEXT NOT NULL CHECK (kind IN ('general', 'premium')),
    is_operator        BOOLEAN NOT NULL,
    is_blocked         BOOLEAN NOT NULL,
    password_hash      TEXT NOT NULL,
    contact_address    TEXT,
    contact_phone      TEXT,
    contact_mobile     TEXT,
    contact_fax        TEXT,
    card_token         TEXT,
    card_brand         TEXT,
    card_last_four     TEXT,
    card_expires_year  BIGINT,
    card_expires_month BIGINT CHECK (card_expires_month BETWEEN 1 AND 12),
    terminal_key       TEXT,
    registered_at      BIGINT NOT NULL,
    version            BIGINT NOT NULL CHECK (version >= 1),
    CHECK ((contact_address IS NULL) = (contact_phone IS NULL)),
    CHECK ((card_token IS NULL) = (card_brand IS NULL)),
    CHECK ((card_token IS NULL) = (card_last_four IS NULL)),
    CHECK ((card_expires_year IS NULL) = (card_expires_month IS NULL))
);

CREATE TABLE sessions (
    token_hash BYTEA NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    member     BIGINT NOT NULL REFERENCES members (number),
    csrf_hash  BYTEA NOT NULL CHECK (length(csrf_hash) = 32),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_member ON sessions (member);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE api_tokens (
    token_hash BYTEA NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    member     BIGINT NOT NULL REFERENCES members (number),
    name       TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT api_tokens_name UNIQUE (member, name)
);

CREATE TABLE channels (
    number     BIGINT NOT NULL PRIMARY KEY CHECK (number BETWEEN 0 AND 65535),
    name       TEXT NOT NULL CONSTRAINT channels_name UNIQUE,
    seats      BIGINT NOT NULL CHECK (seats BETWEEN 1 AND 1048575),
    class      BIGINT NOT NULL CHECK (class >= 1),
    toll       BIGINT NOT NULL CHECK (toll >= 0),
    is_retired BOOLEAN NOT NULL,
    version    BIGINT NOT NULL CHECK (version >= 1)
);

CREATE TABLE reservations (
    number            BIGINT NOT NULL PRIMARY KEY CHECK (number BETWEEN 1 AND 9007199254740991),
    member            BIGINT NOT NULL REFERENCES members (number),
    kind              TEXT NOT NULL CHECK (kind IN ('private', 'special')),
    channel           BIGINT NOT NULL REFERENCES channels (number),
    window_start      BIGINT NOT NULL,
    window_end        BIGINT NOT NULL,
    seats             BIGINT NOT NULL CHECK (seats BETWEEN 1 AND 1048575),
    class             BIGINT NOT NULL CHECK (class >= 1),
    toll              BIGINT NOT NULL CHECK (toll >= 0),
    state             TEXT NOT NULL CHECK (state IN ('held', 'registered', 'confirmed', 'on_air', 'finished',
        'finished_charged', 'finished_waived', 'cancelled_member', 'cancelled_not_reconfirmed',
        'cancelled_terms_not_accepted', 'cancelled_operator')),
    title             TEXT NOT NULL,
    genre             TEXT NOT NULL,
    outline           TEXT NOT NULL,
    details           TEXT NOT NULL,
    open_level        TEXT NOT NULL CHECK (open_level IN ('public', 'password', 'secret')),
    sealed_password   BYTEA,
    show_email        BOOLEAN NOT NULL,
    show_web          BOOLEAN NOT NULL,
    friends           TEXT NOT NULL,
    booked_at         BIGINT NOT NULL,
    hold_until        BIGINT NOT NULL,
    reconfirm_until   BIGINT NOT NULL,
    terms_accepted_at BIGINT,
    confirmed_at      BIGINT,
    over_at           BIGINT,
    id_hash           BYTEA CHECK (length(id_hash) = 32),
    id_issue          BIGINT NOT NULL CHECK (id_issue >= 0),
    is_reminded       BOOLEAN NOT NULL,
    calendar_sequence BIGINT NOT NULL CHECK (calendar_sequence >= 0),
    version           BIGINT NOT NULL CHECK (version >= 1),
    CHECK (window_start < window_end),
    -- 2^61: a difference stays within 64 bits.
    CHECK (window_start >= -2305843009213693952 AND window_end <= 2305843009213693952),
    CHECK (open_level = 'public' OR sealed_password IS NOT NULL)
);
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
    channel     BIGINT NOT NULL REFERENCES channels (number),
    start       BIGINT NOT NULL,
    reservation BIGINT NOT NULL REFERENCES reservations (number),
    PRIMARY KEY (channel, start)
);
CREATE INDEX slots_by_start ON slots (start, channel);
CREATE INDEX slots_by_reservation ON slots (reservation, start);

-- The outbox. `next_at`: when to try next; none: sent or given up.
CREATE TABLE mails (
    position          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key               TEXT COLLATE "C" NOT NULL CONSTRAINT mails_key UNIQUE,
    kind              TEXT NOT NULL CHECK (kind IN ('welcome', 'reservation_id', 'reconfirm_reminder', 'confirmed',
        'invitation', 'changed', 'cancelled', 'extended', 'settled', 'refunded')),
    recipient         TEXT NOT NULL,
    member            BIGINT NOT NULL REFERENCES members (number),
    reservation       BIGINT REFERENCES reservations (number),
    calendar_sequence BIGINT NOT NULL CHECK (calendar_sequence >= 0),
    changes           TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    tries             BIGINT NOT NULL CHECK (tries >= 0),
    next_at           BIGINT,
    sent_at           BIGINT,
    error             TEXT,
    CHECK (sent_at IS NULL OR next_at IS NULL)
);
CREATE INDEX mails_waiting ON mails (next_at, position) WHERE next_at IS NOT NULL;

CREATE TABLE payments (
    position    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         TEXT COLLATE "C" NOT NULL CONSTRAINT payments_key UNIQUE,
    kind        TEXT NOT NULL CHECK (kind IN ('authorise', 'capture', 'release', 'refund')),
    reservation BIGINT NOT NULL REFERENCES reservations (number),
    member      BIGINT NOT NULL REFERENCES members (number),
    amount      BIGINT NOT NULL CHECK (amount >= 0),
    reason      TEXT,
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'declined')),
    reference   TEXT,
    error       TEXT,
    tries       BIGINT NOT NULL CHECK (tries >= 0),
    next_at     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX payments_by_reservation ON payments (reservation, position);
CREATE INDEX payments_by_reference ON payments (reference) WHERE reference IS NOT NULL;
CREATE INDEX payments_waiting ON payments (next_at, position) WHERE state = 'waiting';

CREATE TABLE ledger (
    position      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key           TEXT COLLATE "C" NOT NULL CONSTRAINT ledger_key UNIQUE,
    kind          TEXT NOT NULL CHECK (kind IN ('authorised', 'released', 'charged', 'collected', 'refunded',
        'refund_failed')),
    reservation   BIGINT NOT NULL REFERENCES reservations (number),
    at            BIGINT NOT NULL,
    debit         TEXT NOT NULL CHECK (debit IN ('member_holds', 'holds', 'receivable', 'revenue', 'cash')),
    debit_member  BIGINT REFERENCES members (number),
    credit        TEXT NOT NULL CHECK (credit IN ('member_holds', 'holds', 'receivable', 'revenue', 'cash')),
    credit_member BIGINT REFERENCES members (number),
    amount        BIGINT NOT NULL CHECK (amount > 0),
    CHECK ((debit IN ('member_holds', 'receivable')) = (debit_member IS NOT NULL)),
    CHECK ((credit IN ('member_holds', 'receivable')) = (credit_member IS NOT NULL))
);
CREATE INDEX ledger_by_time ON ledger (at, position);
CREATE INDEX ledger_by_reservation ON ledger (reservation, position);
CREATE INDEX ledger_by_debit ON ledger (debit, debit_member, amount);
CREATE INDEX ledger_by_credit ON ledger (credit, credit_member, amount);
CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$;
CREATE TRIGGER ledger_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();

CREATE TABLE runs (
    reservation  BIGINT NOT NULL PRIMARY KEY REFERENCES reservations (number),
    normal_ms    BIGINT NOT NULL CHECK (normal_ms >= 0),
    media_ms     BIGINT NOT NULL CHECK (media_ms >= 0),
    viewers_peak BIGINT NOT NULL CHECK (viewers_peak >= 0),
    viewer_ms    BIGINT NOT NULL CHECK (viewer_ms >= 0)
);

CREATE TABLE samples (
    reservation BIGINT NOT NULL REFERENCES reservations (number),
    at          BIGINT NOT NULL,
    viewers     BIGINT NOT NULL CHECK (viewers >= 0),
    PRIMARY KEY (reservation, at)
);

CREATE TABLE pickups (
    reservation BIGINT NOT NULL PRIMARY KEY REFERENCES reservations (number),
    note        TEXT NOT NULL,
    position    BIGINT NOT NULL
);

CREATE TABLE kept_answers (
    scope        TEXT COLLATE "C" NOT NULL,
    key          TEXT COLLATE "C" NOT NULL,
    request_hash BYTEA NOT NULL CHECK (length(request_hash) = 32),
    made         TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX kept_answers_by_age ON kept_answers (created_at);

CREATE TABLE seen_events (
    event   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    seen_at BIGINT NOT NULL
);
CREATE INDEX seen_events_by_age ON seen_events (seen_at);
