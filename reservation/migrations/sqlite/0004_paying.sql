-- A refund is made once under each key that an operator asks with, for ever; a payment that was declined is asked for
-- again, each time under a key of its own with the provider. Which kinds of mails and entries there are, the program
-- knows.
ALTER TABLE payments ADD COLUMN asked_as TEXT;
ALTER TABLE payments ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1 CHECK (attempt >= 1);
CREATE UNIQUE INDEX payments_asked_as ON payments (asked_as, of_key) WHERE asked_as IS NOT NULL;
CREATE INDEX payments_declined ON payments (position) WHERE state = 'declined';

CREATE TABLE mails_anew (
    position          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    key               TEXT NOT NULL CONSTRAINT mails_key UNIQUE,
    kind              TEXT NOT NULL,
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
INSERT INTO mails_anew (position, key, kind, recipient, member, reservation, calendar_sequence, changes, created_at,
    tries, next_at, sent_at, error)
SELECT position, key, kind, recipient, member, reservation, calendar_sequence, changes, created_at, tries, next_at,
    sent_at, error FROM mails;
DROP TABLE mails;
ALTER TABLE mails_anew RENAME TO mails;
CREATE INDEX mails_waiting ON mails (next_at, position) WHERE next_at IS NOT NULL;

DROP TRIGGER ledger_no_update;
DROP TRIGGER ledger_no_delete;
CREATE TABLE ledger_anew (
    position      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    key           TEXT NOT NULL CONSTRAINT ledger_key UNIQUE,
    kind          TEXT NOT NULL,
    of_key        TEXT NOT NULL DEFAULT '',
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
INSERT INTO ledger_anew (position, key, kind, of_key, reservation, at, debit, debit_member, credit, credit_member, amount)
SELECT position, key, kind, of_key, reservation, at, debit, debit_member, credit, credit_member, amount FROM ledger;
DROP TABLE ledger;
ALTER TABLE ledger_anew RENAME TO ledger;
CREATE INDEX ledger_by_time ON ledger (at, position);
CREATE INDEX ledger_by_reservation ON ledger (reservation, position);
CREATE INDEX ledger_by_debit ON ledger (debit, debit_member, amount);
CREATE INDEX ledger_by_credit ON ledger (credit, credit_member, amount);
CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
