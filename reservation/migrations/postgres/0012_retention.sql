-- What is kept for a while only is found by its age.
CREATE INDEX samples_by_age ON samples (at);
CREATE INDEX api_tokens_by_end ON api_tokens (expires_at);
