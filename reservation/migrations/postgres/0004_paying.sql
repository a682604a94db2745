-- A refund is made once under each key that an operator asks with, for ever; a payment that was declined is asked for
-- again, each time under a key of its own with the provider. Which kinds of mails and entries there are, the program
-- knows.
ALTER TABLE payments ADD COLUMN asked_as TEXT COLLATE "C";
ALTER TABLE payments ADD COLUMN attempt BIGINT NOT NULL DEFAULT 1 CHECK (attempt >= 1);
CREATE UNIQUE INDEX payments_asked_as ON payments (asked_as, of_key) WHERE asked_as IS NOT NULL;
CREATE INDEX payments_declined ON payments (position) WHERE state = 'declined';
ALTER TABLE mails DROP CONSTRAINT mails_kind_check;
ALTER TABLE ledger DROP CONSTRAINT ledger_kind_check;
