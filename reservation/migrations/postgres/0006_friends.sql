-- What a job that is a mail is about, where it must be found by it: its kind (`label`), and of a mail to a friend the
-- reservation and the address.
ALTER TABLE jobs ADD COLUMN label TEXT;
ALTER TABLE jobs ADD COLUMN about BIGINT;
ALTER TABLE jobs ADD COLUMN recipient TEXT;
UPDATE jobs SET label = payload::json ->> 'kind' WHERE kind IN ('member_mail', 'friend_mail');
UPDATE jobs SET about = (payload::json ->> 'reservation')::BIGINT, recipient = payload::json ->> 'to' WHERE kind = 'friend_mail';
CREATE INDEX jobs_to_friends ON jobs (about, recipient, position) WHERE recipient IS NOT NULL;
CREATE INDEX jobs_by_recipient ON jobs (recipient, done_at) WHERE recipient IS NOT NULL;
CREATE INDEX jobs_asked_by_member ON jobs (member, kind, created_at);

-- Who wants no mails as somebody's friend: SHA-256 of the address in lower case.
CREATE TABLE mail_stops (
    address_hash BYTEA NOT NULL PRIMARY KEY CHECK (length(address_hash) = 32),
    stopped_at   BIGINT NOT NULL
);
