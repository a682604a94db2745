-- What one node saw since one start of its process, in all: written again, it counts once. Sums are over nodes and starts.
CREATE TABLE runs_seen (
    reservation  BIGINT NOT NULL REFERENCES reservations (number),
    node         TEXT COLLATE "C" NOT NULL,
    boot         BIGINT NOT NULL,
    normal_ms    BIGINT NOT NULL CHECK (normal_ms >= 0),
    media_ms     BIGINT NOT NULL CHECK (media_ms >= 0),
    viewers_peak BIGINT NOT NULL CHECK (viewers_peak >= 0),
    viewer_ms    BIGINT NOT NULL CHECK (viewer_ms >= 0),
    PRIMARY KEY (reservation, node, boot)
);
INSERT INTO runs_seen (reservation, node, boot, normal_ms, media_ms, viewers_peak, viewer_ms)
SELECT reservation, '', 0, normal_ms, media_ms, viewers_peak, viewer_ms FROM runs;
DROP TABLE runs;
ALTER TABLE runs_seen RENAME TO runs;

-- When each node last noted that it is there.
CREATE TABLE servers (
    node       TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    present_at BIGINT NOT NULL
);
INSERT INTO servers (node, present_at) SELECT '', present_at FROM server WHERE present_at IS NOT NULL;
ALTER TABLE server DROP COLUMN present_at;
