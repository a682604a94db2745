-- The program guide of a day reads what is announced of it, however much is held or cancelled beside.
CREATE INDEX reservations_announced ON reservations (window_start, number)
    WHERE state IN ('registered', 'confirmed', 'on_air', 'finished', 'finished_charged', 'finished_waived') AND open_level <> 'secret';
-- Until then bookings of the channel may have been promised more than it offers now: its last one's end when it became smaller
-- or was retired. All other bookings need not be looked at to know what is taken up.
ALTER TABLE channels ADD COLUMN promised_until BIGINT;
UPDATE channels SET promised_until = (SELECT max(window_end) FROM reservations WHERE channel = channels.number);
