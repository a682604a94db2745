-- What each revision of the schedule changed: a program, all programs of a member, or (neither) channels. Who knows an older
-- revision reads from here what to look at again; the oldest are taken away.
CREATE TABLE schedule_changes (
    revision BIGINT NOT NULL,
    program  BIGINT,
    member   BIGINT
);
CREATE INDEX schedule_changes_by_revision ON schedule_changes (revision);
