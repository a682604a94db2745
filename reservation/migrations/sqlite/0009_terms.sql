-- The terms that members accepted, by their SHA-256, and who accepted which with what reservation.
CREATE TABLE terms (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    text TEXT NOT NULL
) STRICT;
CREATE TABLE accepted_terms (
    reservation INTEGER NOT NULL PRIMARY KEY REFERENCES reservations (number),
    hash        BLOB NOT NULL REFERENCES terms (hash),
    accepted_at INTEGER NOT NULL
) STRICT;

-- The person is gone, the records of money are not.
ALTER TABLE members ADD COLUMN erased_at INTEGER;
