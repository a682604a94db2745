-- What each revision of the schedule changed: a program, all programs of a member, or (neither) channels. Who knows an older
-- revision reads from here what to look at again; the oldest are taken away.
CREATE TABLE schedule_changes (
    revision INTEGER NOT NULL,
    program  INTEGER,
    member   INTEGER
) STRICT;
CREATE INDEX schedule_changes_by_revision ON schedule_changes (revision);
