-- The terms that members accepted, by their SHA-256, and who accepted which with what reservation.
CREATE TABLE terms (
    hash BYTEA NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    text TEXT NOT NULL
);
CREATE TABLE accepted_terms (
    reservation BIGINT NOT NULL PRIMARY KEY REFERENCES reservations (number),
    hash        BYTEA NOT NULL REFERENCES terms (hash),
    accepted_at BIGINT NOT NULL
);

-- The person is gone, the records of money are not.
ALTER TABLE members ADD COLUMN erased_at BIGINT;
