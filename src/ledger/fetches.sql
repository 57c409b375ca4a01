-- The ledger, version 2: notices whose order is still to be fetched from its shop's API. Their deliveries have
-- the result `pending`.

CREATE TABLE fetches (
  delivery TEXT PRIMARY KEY,
  source   TEXT NOT NULL,
  since_ms BIGINT NOT NULL,           -- when it was asked for: it is given up a time after that
  attempts BIGINT NOT NULL,
  next_ms  BIGINT NOT NULL            -- when it is due; moved on by who fetches it
);
CREATE INDEX fetches_by_source ON fetches (source, next_ms);
