-- How long sound may wait for the next picture of its program, in milliseconds; 0: not at all.
ALTER TABLE channels ADD COLUMN gather_ms BIGINT NOT NULL DEFAULT 20 CHECK (gather_ms BETWEEN 0 AND 100);
