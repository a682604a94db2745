-- What a payment and a ledger entry are about, in columns of their own: until now it was read out of their keys.

ALTER TABLE payments ADD COLUMN of_key TEXT COLLATE "C";
ALTER TABLE payments ADD COLUMN elsewhere BIGINT NOT NULL DEFAULT 0 CHECK (elsewhere >= 0);
-- capture-HOLD, release-HOLD
UPDATE payments SET of_key = substr(key, 9) WHERE kind IN ('capture', 'release');
-- refund-N-after-ELSEWHERE-CAPTURE
UPDATE payments SET of_key = substring(key FROM '^refund-[0-9]+-after-[0-9]+-(.*)$'),
    elsewhere = CAST(substring(key FROM '^refund-[0-9]+-after-([0-9]+)-') AS BIGINT)
WHERE kind = 'refund' AND key ~ '^refund-[0-9]+-after-[0-9]+-';

ALTER TABLE ledger ADD COLUMN of_key TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE ledger DISABLE TRIGGER ledger_no_change;
-- authorised-HOLD, released-HOLD, charged-HOLD, collected-CAPTURE
UPDATE ledger SET of_key = substr(key, length(kind) + 2)
WHERE kind IN ('authorised', 'released', 'charged', 'collected');
-- refunded-CAPTURE-AMOUNT
UPDATE ledger SET of_key = substring(key FROM '^refunded-(.*)-[0-9]+$') WHERE kind = 'refunded';
-- failed-REFUND, or failed-elsewhere-BEFORE-CAPTURE
UPDATE ledger SET of_key = coalesce(substring(key FROM '^failed-elsewhere-[0-9]+-(.*)$'), substr(key, 8))
WHERE kind = 'refund_failed';
ALTER TABLE ledger ENABLE TRIGGER ledger_no_change;
