-- What a payment and a ledger entry are about, in columns of their own: until now it was read out of their keys.

ALTER TABLE payments ADD COLUMN of_key TEXT;
ALTER TABLE payments ADD COLUMN elsewhere INTEGER NOT NULL DEFAULT 0 CHECK (elsewhere >= 0);
-- capture-HOLD, release-HOLD
UPDATE payments SET of_key = substr(key, 9) WHERE kind IN ('capture', 'release');
-- refund-N-after-ELSEWHERE-CAPTURE: first all after "-after-", then the two apart.
UPDATE payments SET of_key = substr(key, instr(key, '-after-') + 7)
WHERE kind = 'refund' AND instr(key, '-after-') > 0;
UPDATE payments SET elsewhere = CAST(substr(of_key, 1, instr(of_key, '-') - 1) AS INTEGER),
    of_key = substr(of_key, instr(of_key, '-') + 1)
WHERE kind = 'refund' AND of_key IS NOT NULL;

ALTER TABLE ledger ADD COLUMN of_key TEXT NOT NULL DEFAULT '';
DROP TRIGGER ledger_no_update;
DROP TRIGGER ledger_no_delete;
-- authorised-HOLD, released-HOLD, charged-HOLD, collected-CAPTURE
UPDATE ledger SET of_key = substr(key, length(kind) + 2)
WHERE kind IN ('authorised', 'released', 'charged', 'collected');
-- refunded-CAPTURE-AMOUNT
UPDATE ledger SET of_key = substr(rtrim(key, '0123456789'), 10, length(rtrim(key, '0123456789')) - 10)
WHERE kind = 'refunded';
-- failed-REFUND, or failed-elsewhere-BEFORE-CAPTURE
UPDATE ledger SET of_key = substr(key, 8) WHERE kind = 'refund_failed';
UPDATE ledger SET of_key = substr(substr(of_key, 11), instr(substr(of_key, 11), '-') + 1)
WHERE kind = 'refund_failed' AND of_key LIKE 'elsewhere-%';
CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
