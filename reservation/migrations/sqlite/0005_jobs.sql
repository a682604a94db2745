-- One outbox for all that is to be done outside the database once what asked for it stands.
-- `next_at`: not to be tried before; none: done or given up. `leased_until`: nobody else takes it until then.
-- `turn`: a member's first job of a kind waits behind no second one of another member.
CREATE TABLE jobs (
    position     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    kind         TEXT NOT NULL,
    key          TEXT NOT NULL CONSTRAINT jobs_key UNIQUE,
    member       INTEGER REFERENCES members (number),
    turn         INTEGER NOT NULL CHECK (turn >= 0),
    payload      TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    tries        INTEGER NOT NULL CHECK (tries >= 0),
    next_at      INTEGER,
    leased_until INTEGER,
    done_at      INTEGER,
    error        TEXT,
    CHECK (done_at IS NULL OR next_at IS NULL)
) STRICT;
CREATE INDEX jobs_waiting ON jobs (kind, tries, turn, position) WHERE next_at IS NOT NULL;
CREATE INDEX jobs_by_member ON jobs (kind, member, turn) WHERE next_at IS NOT NULL;
CREATE INDEX jobs_over ON jobs (created_at) WHERE next_at IS NULL;

INSERT INTO jobs (kind, key, member, turn, payload, created_at, tries, next_at, done_at, error)
SELECT CASE WHEN to_friend THEN 'friend_mail' ELSE 'member_mail' END, key, member, 0,
    json_object('kind', kind, 'to', recipient, 'reservation', reservation, 'calendar_sequence', calendar_sequence,
        'changes', json(changes)),
    created_at, tries, next_at, sent_at, error
FROM (SELECT mails.*, mails.kind IN ('invitation', 'changed', 'cancelled')
        AND lower(mails.recipient) <> members.email_folded AS to_friend
    FROM mails JOIN members ON members.number = mails.member ORDER BY mails.position);
DROP TABLE mails;

INSERT INTO jobs (kind, key, member, turn, payload, created_at, tries, next_at)
SELECT 'payment', key, member, 0, '', created_at, tries, next_at FROM payments WHERE state = 'waiting' ORDER BY position;
DROP INDEX payments_waiting;
