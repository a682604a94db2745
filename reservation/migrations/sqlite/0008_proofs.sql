-- Whether mails to the member's address were shown to arrive, and the address that takes its place once they were.
ALTER TABLE members ADD COLUMN is_email_verified INTEGER NOT NULL DEFAULT 0 CHECK (is_email_verified IN (0, 1));
ALTER TABLE members ADD COLUMN new_email TEXT;

-- Codes that were mailed: who has one shows that the mail arrived. Of each kind a member has one at a time; the code is
-- derived from the server's key and `serial`, and its SHA-256 alone is here. Member 0 is nobody: who asks for an unknown
-- member's code leaves a row too, so that the answer takes as long.
CREATE TABLE proofs (
    member     INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    serial     INTEGER NOT NULL,
    code_hash  BLOB NOT NULL CONSTRAINT proofs_code UNIQUE CHECK (length(code_hash) = 32),
    email      TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (member, kind)
) STRICT;
CREATE INDEX proofs_by_end ON proofs (expires_at);

-- From which networks members have logged in, each as a keyed hash: there they may guess their own passwords whatever strangers do elsewhere.
CREATE TABLE homes (
    member  INTEGER NOT NULL REFERENCES members (number),
    network BLOB NOT NULL CHECK (length(network) = 32),
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (member, network)
) STRICT;
